import { Readable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import {
  FIRST_LINE,
  type InputLine,
  type LinePlace,
  MAX_LINE_BYTES,
  readBlock,
  readInputLines,
} from './input-lines.ts';

async function* inPieces(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let from = 0; from < bytes.length; from += size) yield bytes.subarray(from, from + size);
}

async function linesOf(text: string, size = 7): Promise<InputLine[]> {
  const lines: InputLine[] = [];
  for await (const line of readInputLines(inPieces(Buffer.from(text), size))) lines.push(line);
  return lines;
}

const texts = (lines: InputLine[]) => lines.map(({ bytes }) => bytes?.toString());

describe('lines of an input', () => {
  it('are the same however the file comes', async () => {
    const text = 'one\nzwei und drei\n\ntrès\n日本\r\nlast';
    const expected = ['one', 'zwei und drei', '', 'très', '日本\r', 'last'];
    for (const size of [1, 2, 3, 5, 8, 13, 100]) {
      const lines = await linesOf(text, size);
      expect(texts(lines)).toEqual(expected);
      expect(lines.map(({ line }) => line)).toEqual([0, 1, 2, 3, 4, 5]);
      for (const { offset, bytes = Buffer.alloc(0) } of lines) {
        expect(Buffer.from(text).subarray(offset, offset + bytes.length)).toEqual(bytes);
      }
    }
  });

  it('are without blank ones at the end, not without those before', async () => {
    expect(texts(await linesOf('a\n\n \nb\n\n\r\n\t\n'))).toEqual(['a', '', ' ', 'b']);
    expect(await linesOf('')).toEqual([]);
    expect(await linesOf('\n\n')).toEqual([]);
  });

  it('that are too long have no bytes, and the next one begins where it does', async () => {
    const long = 'x'.repeat(MAX_LINE_BYTES);
    const lines = await linesOf(`${long}\n${long}x\nend`, 65_536);
    expect(lines.map(({ bytes }) => bytes?.length)).toEqual([MAX_LINE_BYTES, undefined, 3]);
    expect(lines[2]).toMatchObject({ line: 2, offset: 2 * MAX_LINE_BYTES + 3 });
  });
});

it('blocks of lines are the file, each read from its own offset', async () => {
  const text = Array.from({ length: 3500 }, (_, n) => `line ${n} ${'é'.repeat(n % 700)}`).join(
    '\n',
  );
  const bytes = Buffer.from(`${text}\n\n`);
  const opened: number[] = [];
  const open = async (offset: number) => {
    opened.push(offset);
    return Readable.from(inPieces(bytes.subarray(offset), 65_536));
  };
  const lines: InputLine[] = [];
  let next: LinePlace | undefined = FIRST_LINE;
  while (next) {
    const block = await readBlock(open, next);
    expect(block.lines.length).toBeLessThanOrEqual(1000);
    lines.push(...block.lines);
    next = block.next;
  }
  expect(texts(lines).join('\n')).toBe(text);
  expect(lines.map(({ line }) => line)).toEqual(lines.map((_, index) => index));
  expect(opened.length).toBeGreaterThan(3);
  expect(Math.max(...opened)).toBeLessThan(bytes.length - 2);
});
