import type { Readable } from 'node:stream';

/** Most that one line may have: what a body of `/v1/audio/speech` may have. */
export const MAX_LINE_BYTES = 1_048_576;

/** Read in one go, and held until they are fed: far less than a file, far more than a look at Redis. */
const BLOCK_BYTES = 1_048_576;
const BLOCK_LINES = 1000;

/** Of blank lines in a row; more are not told apart. */
const MOST_BLANK_LINES = 100;

const LINE_FEED = 10;

/** Where a line begins: its number from 0, and the offset of its first byte. */
export interface LinePlace {
  line: number;
  offset: number;
}

export interface InputLine extends LinePlace {
  /** Without its line feed. Undefined when there are more than `MAX_LINE_BYTES`. */
  bytes: Buffer | undefined;
}

export const FIRST_LINE: LinePlace = { line: 0, offset: 0 };

/**
 * The lines of an input file, in order, never more than one of them in memory. Blank ones at the
 * end are left out. `source` begins at `from`.
 */
export async function* readInputLines(
  source: AsyncIterable<Buffer>,
  from: LinePlace = FIRST_LINE,
): AsyncGenerator<InputLine> {
  let blanks: InputLine[] = [];
  for await (const line of splitLines(source, from)) {
    if (isBlank(line.bytes)) {
      if (blanks.length < MOST_BLANK_LINES) blanks.push(line);
      continue;
    }
    yield* blanks;
    blanks = [];
    yield line;
  }
}

export interface LineBlock {
  lines: InputLine[];
  /** Where the next block begins; undefined at the end of the file. */
  next: LinePlace | undefined;
}

/** The lines from `from` on, as many as make a block. `open` gives the file from an offset on. */
export async function readBlock(
  open: (offset: number) => Promise<Readable>,
  from: LinePlace,
): Promise<LineBlock> {
  const lines: InputLine[] = [];
  for await (const line of readInputLines(await open(from.offset), from)) {
    const { offset } = line;
    // Only a line that is there has a next block: no store is asked for what is behind its end.
    const isFull = offset - from.offset >= BLOCK_BYTES || lines.length >= BLOCK_LINES;
    if (isFull && lines.length > 0) return { lines, next: { line: line.line, offset } };
    lines.push(line);
  }
  return { lines, next: undefined };
}

async function* splitLines(
  source: AsyncIterable<Buffer>,
  from: LinePlace,
): AsyncGenerator<InputLine> {
  let { line, offset } = from;
  let parts: Buffer[] = [];
  let length = 0;
  const take = (part: Buffer) => {
    length += part.length;
    if (length <= MAX_LINE_BYTES) parts.push(part);
    else parts = [];
  };
  const end = (): InputLine => {
    const bytes = length <= MAX_LINE_BYTES ? Buffer.concat(parts) : undefined;
    const ended = { line, offset, bytes };
    line += 1;
    offset += length + 1;
    parts = [];
    length = 0;
    return ended;
  };
  for await (const chunk of source) {
    let start = 0;
    for (let feed = chunk.indexOf(LINE_FEED); feed >= 0; feed = chunk.indexOf(LINE_FEED, start)) {
      take(chunk.subarray(start, feed));
      yield end();
      start = feed + 1;
    }
    take(chunk.subarray(start));
  }
  if (length > 0) yield end();
}

/** Blank, tab, carriage return. */
const isBlank = (bytes: Buffer | undefined): boolean =>
  bytes !== undefined && bytes.every((byte) => byte === 32 || byte === 9 || byte === 13);
