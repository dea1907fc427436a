import { expect, it } from 'vitest';
import type { Transcript } from './transcript.ts';
import { formatTranscript, type TranscriptFormat } from './transcript-format.ts';

const transcript: Transcript = {
  segments: [
    { text: 'Hello there.', startSeconds: 0, endSeconds: 1.5 },
    { text: 'Over --> and out.', startSeconds: 3661.25, endSeconds: 3662 },
  ],
  words: [{ word: 'Hello', startSeconds: 0, endSeconds: 0.4 }],
  language: 'en',
  durationSeconds: 3662.2,
};
const format = (name: TranscriptFormat, granularities: ('word' | 'segment')[] = []) =>
  formatTranscript(transcript, { format: name, operation: 'transcribe', granularities });

it('writes json with the seconds used', () => {
  const { body, contentType } = format('json');
  expect(contentType).toBe('application/json');
  expect(JSON.parse(body)).toEqual({
    text: 'Hello there. Over --> and out.',
    usage: { type: 'duration', seconds: 3663 },
  });
});

it('writes plain text with a line feed at the end', () => {
  expect(format('text')).toEqual({
    body: 'Hello there. Over --> and out.\n',
    contentType: 'text/plain; charset=utf-8',
  });
});

it('writes srt', () => {
  expect(format('srt').body).toBe(
    '1\n00:00:00,000 --> 00:00:01,500\nHello there.\n\n2\n01:01:01,250 --> 01:01:02,000\nOver -> and out.\n\n',
  );
});

it('writes vtt', () => {
  expect(format('vtt').body).toBe(
    'WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nHello there.\n\n01:01:01.250 --> 01:01:02.000\nOver -> and out.\n\n',
  );
});

it('writes verbose_json with segments unless only words were asked for', () => {
  const plain = JSON.parse(format('verbose_json').body);
  expect(plain).toMatchObject({ task: 'transcribe', language: 'english', duration: 3662.2 });
  expect(plain.segments).toHaveLength(2);
  expect(plain.segments[1]).toMatchObject({ id: 1, start: 3661.25, end: 3662, tokens: [] });
  expect(plain.words).toBeUndefined();
  const words = JSON.parse(format('verbose_json', ['word']).body);
  expect(words.words).toEqual([{ word: 'Hello', start: 0, end: 0.4 }]);
  expect(words.segments).toBeUndefined();
});

it('writes an empty transcript for silence', () => {
  const silence = { segments: [], words: [], language: 'en', durationSeconds: 2 };
  const options = { operation: 'transcribe' as const, granularities: [] };
  expect(JSON.parse(formatTranscript(silence, { ...options, format: 'json' }).body).text).toBe('');
  expect(formatTranscript(silence, { ...options, format: 'srt' }).body).toBe('');
});
