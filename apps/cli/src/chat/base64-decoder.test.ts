import { expect, it } from 'vitest';
import { createBase64Decoder } from './base64-decoder.ts';

const BYTES = Buffer.from(Array.from({ length: 301 }, (_, at) => (at * 37) % 256));

it.each([1, 3, 4, 7, 64])('base64 cut into fragments of %i characters', (size) => {
  const decoder = createBase64Decoder();
  const text = BYTES.toString('base64');
  const parts: Uint8Array[] = [];
  for (let at = 0; at < text.length; at += size) {
    parts.push(decoder.decode(text.slice(at, at + size)));
  }
  expect(Buffer.concat(parts)).toStrictEqual(BYTES);
});

it('fragments with padding of their own', () => {
  const decoder = createBase64Decoder();
  const parts = [0, 100, 200].map((at) =>
    decoder.decode(BYTES.subarray(at, at + 100).toString('base64')),
  );
  expect(Buffer.concat(parts)).toStrictEqual(BYTES.subarray(0, 300));
});
