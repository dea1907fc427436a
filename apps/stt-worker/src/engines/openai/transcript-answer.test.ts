import { expect, test } from 'vitest';
import { parseTranscriptAnswer, segmentsOf } from './transcript-answer.ts';

const parse = (answer: unknown) => parseTranscriptAnswer(Buffer.from(JSON.stringify(answer)));

test('null, left out and textual numbers are taken as servers send them', () => {
  const answer = parse({
    text: 'a',
    duration: '1.5',
    language: null,
    segments: [{ text: ' a', start: 0, end: '1.5', avg_logprob: null, tokens: [] }],
    words: null,
    usage: { type: 'tokens' },
  });
  expect(answer.duration).toBe(1.5);
  expect([...segmentsOf(answer, 1.5, true)]).toEqual([
    { type: 'segment', segment: { text: 'a', startSeconds: 0, endSeconds: 1.5 }, words: [] },
  ]);
});

test('a text without segments is one segment, blank text none', () => {
  expect([...segmentsOf(parse({ text: ' a b ' }), 3, false)]).toEqual([
    { type: 'segment', segment: { text: 'a b', startSeconds: 0, endSeconds: 3 } },
  ]);
  expect([...segmentsOf(parse({ text: ' ', segments: [] }), 3, false)]).toEqual([]);
});

test('words after the last segment belong to it', () => {
  const answer = parse({
    text: 'a b',
    segments: [{ text: 'a b', start: 0, end: 1 }],
    words: [
      { word: ' a', start: 0, end: 1 },
      { word: 'b', start: 1.2, end: 1.4 },
      { word: ' ', start: 1.4, end: 1.5 },
    ],
  });
  const [event] = segmentsOf(answer, 2, true);
  expect(event).toMatchObject({ words: [{ word: 'a' }, { word: 'b', startSeconds: 1.2 }] });
});

test('what has no text is no transcript', () => {
  for (const answer of [{}, [], null, 'text', { text: 5 }, { text: 'a', segments: [{}] }]) {
    expect(() => parse(answer)).toThrow(/something else than a transcript/);
  }
});
