import { expect, it } from 'vitest';
import { OggWriter } from './ogg.ts';

it('writes a page as RFC 3533 has it', () => {
  const ogg = new OggWriter(0x0102_0304);
  const page = Buffer.from(
    ogg.page({ packets: [Uint8Array.of(7, 8), new Uint8Array(255)], granulePosition: 960 }),
  );
  expect(page.toString('latin1', 0, 4)).toBe('OggS');
  expect([...page.subarray(4, 6)]).toEqual([0, 2]);
  expect(page.readBigUInt64LE(6)).toBe(960n);
  expect(page.readUInt32LE(14)).toBe(0x0102_0304);
  expect(page.readUInt32LE(18)).toBe(0);
  // A packet of 255 bytes ends with a segment of 0.
  expect([...page.subarray(26, 30)]).toEqual([3, 2, 255, 0]);
  expect(page.length).toBe(30 + 2 + 255);
});

it('numbers pages and marks the first and the last alone', () => {
  const ogg = new OggWriter(1);
  const pages = [false, false, true].map((last) =>
    Buffer.from(ogg.page({ packets: [], granulePosition: 2 ** 40, last })),
  );
  expect(pages.map((page) => page[5])).toEqual([2, 0, 4]);
  expect(pages.map((page) => page.readUInt32LE(18))).toEqual([0, 1, 2]);
  expect(pages[0]?.readBigUInt64LE(6)).toBe(2n ** 40n);
});

it('refuses packets that do not fit into a page', () => {
  const ogg = new OggWriter(1);
  expect(() => ogg.page({ packets: [new Uint8Array(255 * 255)], granulePosition: 0 })).toThrow(
    RangeError,
  );
});
