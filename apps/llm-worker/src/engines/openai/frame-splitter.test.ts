import { expect, test } from 'vitest';
import { FrameSplitter } from './frame-splitter.ts';

const MIB = 1024 * 1024;

/** The frames of a body that is read in these pieces. */
function split(pieces: Buffer[], maxLineBytes = MIB): string {
  const splitter = new FrameSplitter(maxLineBytes);
  return pieces.map((piece) => splitter.push(piece).toString()).join('');
}

function inPieces(body: Buffer, size: number): Buffer[] {
  const count = Math.ceil(body.byteLength / size);
  return Array.from({ length: count }, (_, at) => body.subarray(at * size, (at + 1) * size));
}

const A = 'data: {"a":"é😀"}\n\n';
const B = 'data: {"b":[1,{"c":"data: x"}]}\n\n';

test('clean frames are passed on as the very bytes of the read', () => {
  const read = Buffer.from(A + B);
  const block = new FrameSplitter(MIB).push(read);
  expect(block.buffer).toBe(read.buffer);
  expect(block.byteOffset).toBe(read.byteOffset);
  expect(block.toString()).toBe(A + B);
});

test('a clean run is not copied when a part of a frame follows', () => {
  const read = Buffer.from(`${A + B}data: {"d`);
  const splitter = new FrameSplitter(MIB);
  expect(splitter.push(read).buffer).toBe(read.buffer);
  expect(splitter.push(Buffer.from('":1}\n\n')).toString()).toBe('data: {"d":1}\n\n');
});

const BODIES: Record<string, string> = {
  clean: `${A}${B}data: [DONE]\n\n`,
  CRLF: `${A}${B}data: [DONE]\n\n`.replaceAll('\n', '\r\n'),
  comments: `: hello\n\n${A}: keepalive\n\n: again\n${B}data: [DONE]\n\n`,
  'other fields': `event: message\n${A}id: 7\nretry: 10\n${B}event: end\ndata: [DONE]\n\n`,
  'no blank after the colon': `${A}${B}data:[DONE]\n\n`.replaceAll('data: {', 'data:{'),
  'blanks after the JSON': `data: {"a":"é😀"} \n\n${B}data: [DONE] \n\n`,
  'extra empty lines': `\n\n${A}\n\n\n${B}\n`,
  'a value on several lines': `data: {"a":"é😀"\ndata: }\n\n${B}`,
  'a byte order mark of comments': `:\n${A}${B}`,
};

test.each(Object.entries(BODIES))('%s: the same frames wherever the socket cuts', (name, text) => {
  const body = Buffer.from(text);
  const expected = name === 'a value on several lines' ? A.replace('}', ' }') + B : A + B;
  for (let size = 1; size <= body.byteLength; size += 1) {
    expect(split(inPieces(body, size))).toBe(expected);
  }
  for (let at = 0; at <= body.byteLength; at += 1) {
    expect(split([body.subarray(0, at), body.subarray(at)])).toBe(expected);
  }
});

test('what comes after [DONE] is left out', () => {
  const splitter = new FrameSplitter(MIB);
  expect(splitter.push(Buffer.from(`${A}data: [DONE]\n\n${B}`)).toString()).toBe(A);
  expect(splitter.done).toBe(true);
  expect(splitter.push(Buffer.from(B)).toString()).toBe('');
});

test('a frame that is not ended is not passed on', () => {
  expect(split([Buffer.from(`${A}data: {"b":1}\n`)])).toBe(A);
});

test.each(['data: {not json\n\n', 'data: hello\n\n', 'data: 12\n\n', 'data:\n\n'])(
  'a frame that is no object is upstream_protocol, and those before it are good: %j',
  (frame) => {
    const splitter = new FrameSplitter(MIB);
    expect(splitter.push(Buffer.from(A + frame + B)).toString()).toBe(A);
    expect(splitter.failure?.code).toBe('upstream_protocol');
  },
);

test.each([
  ['one line', 'data: {"a":"'],
  ['many data lines', 'data: {\n'],
])('%s of more than the limit is upstream_protocol before it is held', (_name, start) => {
  const splitter = new FrameSplitter(MIB);
  const piece = Buffer.from(start.endsWith('\n') ? start.repeat(5000) : 'y'.repeat(40_000));
  let pushed = 0;
  for (splitter.push(Buffer.from(start)); pushed < 40 * MIB; pushed += piece.byteLength) {
    splitter.push(piece);
    if (splitter.failure) break;
  }
  expect(splitter.failure).toMatchObject({ code: 'upstream_protocol' });
  expect(pushed).toBeLessThan(1.2 * MIB);
});

test('a long line in small pieces costs no more per byte than a short one', () => {
  const micros = (bytes: number): number => {
    const splitter = new FrameSplitter(bytes + 100);
    const piece = Buffer.from('y'.repeat(100));
    const before = process.cpuUsage().user;
    for (let sent = 0; sent < bytes; sent += piece.byteLength) splitter.push(piece);
    return (process.cpuUsage().user - before) / bytes;
  };
  micros(MIB);
  const short = Math.max(micros(MIB), 0.0005);
  expect(micros(16 * MIB)).toBeLessThan(10 * short);
});
