import { expect, test } from 'vitest';
import { SpokenReader } from './spoken-reader.ts';
import { BrokenStreamError } from './token-reader.ts';

function frame(delta: object, finishReason: string | null = null): string {
  const choices = [{ index: 0, delta, finish_reason: finishReason }];
  return `data: ${JSON.stringify({ choices })}\n\n`;
}

const SOUND = Buffer.from('12 bytes....').toString('base64');
const WHOLE =
  frame({ role: 'assistant', content: '' }) +
  frame({ audio: { id: 'a', transcript: 'One.' } }) +
  frame({ audio: { data: SOUND } }) +
  ': keepalive\n' +
  frame({ audio: { transcript: ' Two.' } }) +
  frame({ audio: { data: SOUND } }) +
  frame({ audio: { expires_at: 1 } }) +
  frame({}, 'stop') +
  'data: [DONE]\n\n';
const EXPECTED = { transcript: 'One. Two.', soundBytes: 24 };

function read(body: string, pieceBytes = body.length): SpokenReader {
  const reader = new SpokenReader();
  const bytes = Buffer.from(body);
  for (let start = 0; start < bytes.length; start += pieceBytes) {
    reader.push(bytes.subarray(start, start + pieceBytes));
  }
  return reader;
}

test.each([1, 7, 64, 10_000])('reads an answer in pieces of %i bytes', (pieceBytes) => {
  const reader = read(WHOLE, pieceBytes);
  expect(reader).toMatchObject(EXPECTED);
  reader.end(EXPECTED);
});

test.each([
  ['words are missing', WHOLE.replace(' Two.', ''), 'Said: One.'],
  ['sound is missing', WHOLE.replace(SOUND, ''), '12 bytes of sound of 24'],
  ['there is no finish reason', WHOLE.replace('"stop"', 'null'), 'No finish_reason'],
  ['there is no [DONE]', WHOLE.replace('data: [DONE]\n\n', ''), 'No [DONE]'],
])('refuses an answer in which %s', (_, body, message) => {
  expect(() => read(body).end(EXPECTED)).toThrow(message);
});

test.each([
  ['an error', 'data: {"error":{"message":"no"}}\n\n', 'Strange chunk'],
  ['an event line', 'event: x\n\n', 'Strange line'],
  ['data behind the end', 'data: [DONE]\n\ndata: [DONE]\n\n', 'Strange line'],
])('refuses %s at once', (_, body, message) => {
  expect(() => read(body)).toThrow(BrokenStreamError);
  expect(() => read(body)).toThrow(message);
});
