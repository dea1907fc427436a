import { describe, expect, test } from 'vitest';
import { TokenReader } from './token-reader.ts';
import { FINISH_FRAMES, ROLE_FRAME, tokenFrame } from './token-script.ts';

function collector(): { reader: TokenReader; seen: [number, number][] } {
  const seen: [number, number][] = [];
  return { reader: new TokenReader((index, sentMs) => seen.push([index, sentMs])), seen };
}

const ANSWER = ROLE_FRAME + tokenFrame(0, 1.5) + tokenFrame(1, 21.25) + FINISH_FRAMES;

describe('TokenReader', () => {
  test.each([1, 2, 7, 100, 10_000])('reads a body cut every %i bytes', (size) => {
    const { reader, seen } = collector();
    const body = Buffer.from(ANSWER);
    for (let at = 0; at < body.length; at += size) reader.push(body.subarray(at, at + size));
    reader.end(2);
    expect(seen).toEqual([
      [0, 1.5],
      [1, 21.25],
    ]);
  });

  test('tells a token as soon as its line is whole', () => {
    const { reader, seen } = collector();
    const frame = Buffer.from(tokenFrame(0, 1));
    reader.push(frame.subarray(0, -2));
    expect(seen).toEqual([]);
    reader.push(frame.subarray(-2, -1));
    expect(seen).toEqual([[0, 1]]);
  });

  test('takes comments, carriage returns and reordered JSON', () => {
    const { reader, seen } = collector();
    reader.push(
      Buffer.from(`: keepalive\r\n\r\ndata: {"x":1,"delta":{"content":"0@1000 "}}\r\n\r\n`),
    );
    reader.push(Buffer.from(`data: {"finish_reason":"stop"}\r\n\r\ndata: [DONE]\r\n\r\n`));
    reader.end(1);
    expect(seen).toEqual([[0, 1]]);
  });

  test.each([
    ['lost', tokenFrame(0, 1) + tokenFrame(2, 1), 'in place of 1'],
    ['doubled', tokenFrame(0, 1) + tokenFrame(0, 1), 'in place of 1'],
    ['swapped', tokenFrame(1, 1) + tokenFrame(0, 1), 'in place of 0'],
    ['after the end', tokenFrame(0, 1) + FINISH_FRAMES + tokenFrame(1, 1), 'Data after [DONE]'],
  ])('stops at a token that is %s', (_, frames, message) => {
    expect(() => collector().reader.push(Buffer.from(frames))).toThrow(message);
  });

  test('stops at an error frame', () => {
    const frame = 'data: {"error":{"message":"stream_interrupted"}}\n\n';
    expect(() => collector().reader.push(Buffer.from(frame))).toThrow('stream_interrupted');
  });

  test.each([
    ['1 tokens of 2', tokenFrame(0, 1) + FINISH_FRAMES],
    ['No finish_reason', tokenFrame(0, 1) + tokenFrame(1, 1) + 'data: [DONE]\n\n'],
    ['No [DONE]', tokenFrame(0, 1) + tokenFrame(1, 1) + FINISH_FRAMES.split('\n\n')[0] + '\n\n'],
    ['Half a line', ANSWER + 'data: {'],
  ])('says "%s" of an incomplete body', (message, body) => {
    const { reader } = collector();
    reader.push(Buffer.from(body));
    expect(() => reader.end(2)).toThrow(message);
  });
});
