import { expect, it } from 'vitest';
import { decodeEvent, encodeEvent } from './event-codec.ts';
import type { StreamEvent } from './stream-event.ts';

const events: StreamEvent[] = [
  { type: 'job-claim', producer: 'chat', workerId: 'w', epoch: 1, lastIndex: 0 },
  { type: 'text-delta', bytes: Buffer.from('data: {"ä":1}\n\n') },
  { type: 'text-end', finishReason: 'stop', phraseCount: 3, answer: 'Schön.' },
  { type: 'playback-end' },
  { type: 'message-delta', delta: { content: '```js\n' } },
  { type: 'phrase-start', phraseIndex: 0, text: 'Schön.', before: '', firstTokenMs: 12 },
  { type: 'audio-delta', phraseIndex: 70_000, chunkIndex: 9, pcm: Buffer.from([0, 255, 1, 2]) },
  { type: 'audio-delta', phraseIndex: 1, chunkIndex: 0, pcm: Buffer.from([1, 2]), cache: 'miss' },
  { type: 'audio-delta', phraseIndex: 1, chunkIndex: 9, pcm: Buffer.from([1, 2]), cache: 'hit' },
  { type: 'audio-end', phraseIndex: 2 },
  { type: 'audio-end', phraseIndex: 2, cached: true },
  { type: 'phrase-error', phraseIndex: 2, error: { code: 'engine_failed', message: 'x' } },
  { type: 'transcript-delta', segment: { text: 'hi', startSeconds: 0, endSeconds: 1 } },
  { type: 'transcript-end', language: 'en', durationSeconds: 1.5 },
  { type: 'stream-error', error: { code: 'stream_cancelled', message: 'x' } },
];

it.each(events)('carries $type unchanged', (event) => {
  expect(decodeEvent(encodeEvent(event))).toEqual(event);
});

it('passes over a type that a newer version wrote', () => {
  expect(decodeEvent(Buffer.from([1, 200, 1, 2]))).toBeUndefined();
});

it('refuses another version of the format', () => {
  expect(() => decodeEvent(Buffer.from([2, 2]))).toThrow(/error/);
});
