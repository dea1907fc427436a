import { expect, it } from 'vitest';
import { cutBook } from './book-chapters.ts';
import { nextParts } from './book-rounds.ts';
import { newProgress } from './book-state.ts';

function open(paragraphs: number) {
  const text = Array.from({ length: paragraphs }, (_, at) => `Paragraph ${at}.`).join('\n\n');
  const chapters = cutBook(text, { markdown: false, title: 'book' });
  const progress = newProgress('f', 'http://127.0.0.1');
  return { chapters, progress, spokenAs: { voice: 'alloy' } };
}
const indexes = (parts: ReturnType<typeof nextParts>) => parts.map(({ index }) => index);
const bytes = Number.MAX_SAFE_INTEGER;

it('a book that is too long for one batch takes several, each part once', () => {
  const book = open(50_001);
  const first = nextParts(book);
  expect(first).toHaveLength(50_000);
  for (const { index } of first) book.progress.sounds[index] = { fileId: 'f', bytes: 2 };
  expect(indexes(nextParts(book))).toStrictEqual([50_000]);
});

it('no book is too long', () => {
  expect(nextParts(open(200_000))).toHaveLength(50_000);
});

it('as many lines as fit into the file, and one at least', () => {
  const book = open(10);
  expect(indexes(nextParts(book, { lines: 10, bytes: 500 }))).toStrictEqual([0, 1, 2]);
  expect(indexes(nextParts(book, { lines: 10, bytes: 1 }))).toStrictEqual([0]);
});

it('what failed once is tried when nothing new is left, what failed twice no more', () => {
  const book = open(4);
  book.progress.failures = { 0: { tries: 1, message: '' }, 1: { tries: 2, message: '' } };
  expect(indexes(nextParts(book, { lines: 10, bytes }))).toStrictEqual([2, 3]);
  for (const index of [2, 3]) book.progress.sounds[index] = { fileId: 'f', bytes: 2 };
  expect(indexes(nextParts(book, { lines: 10, bytes }))).toStrictEqual([0]);
  book.progress.failures[0] = { tries: 2, message: '' };
  expect(nextParts(book, { lines: 10, bytes })).toStrictEqual([]);
});
