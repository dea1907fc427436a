import { expect, it } from 'vitest';
import { partsOf } from './book.ts';
import { cutBook } from './book-chapters.ts';
import { applyCuts, cutAgain, limitFor } from './book-cuts.ts';
import { newProgress } from './book-state.ts';

const LONG = 'Here is one more sentence. '.repeat(10).trim();

function open() {
  const text = `CHAPTER I\n\n${LONG}\n\nShort.\n\nCHAPTER II\n\n${LONG}\n\nThe end.`;
  const chapters = cutBook(text, { markdown: false, title: 'book' });
  return { chapters, progress: newProgress('f', 'http://127.0.0.1') };
}

it('what is there keeps its sound, and a later call cuts the same', () => {
  const book = open();
  const before = book.chapters;
  const soundOf = (index: number) => ({ fileId: partsOf(book)[index]?.text ?? '', bytes: 2 });
  for (const index of [0, 2, 5]) book.progress.sounds[index] = soundOf(index);
  book.progress.failures = { 1: { tries: 1, message: 'too long' } };
  expect(cutAgain(book, 120)).toBe(true);
  expect(cutAgain(book, 60)).toBe(true);
  const parts = partsOf(book);
  expect(parts.map(({ text }) => text).join(' ')).toBe(
    before.flatMap(({ parts: all }) => all.map(({ text }) => text)).join(' '),
  );
  for (const { text } of parts) expect(text.length).toBeLessThanOrEqual(60);
  const found = Object.entries(book.progress.sounds).map(([index, { fileId }]) => [
    parts[Number(index)]?.text,
    fileId,
  ]);
  expect(found).toStrictEqual(['CHAPTER I', 'Short.', 'The end.'].map((text) => [text, text]));
  expect(book.progress.failures).toStrictEqual({});
  expect(applyCuts(before, book.progress.cuts)).toStrictEqual(book.chapters);
  const pauses = parts.filter(({ chapter }) => chapter === book.chapters[0]);
  expect(pauses.map(({ pauseMs }) => pauseMs).filter((ms) => ms > 0)).toHaveLength(3);
});

it('what was spoken or written as it is is not cut', () => {
  const book = open();
  book.progress.sounds[1] = { fileId: 'f', bytes: 2 };
  book.progress.chapters[2] = { file: '02.mp3', samples: 3, starts: [0, 1, 2] };
  expect(cutAgain(book, 120)).toBe(false);
  expect(book.progress.cuts).toStrictEqual([]);
});

it.each([
  [{ message: 'String should have at most 500 characters' }, 600, 500],
  [{ message: 'String should have at most 500 characters' }, 500, undefined],
  [{ code: 'string_too_long', message: 'Too long.' }, 600, 300],
  [{ message: 'The engine failed.' }, 600, undefined],
])('%j, of %d characters, is cut to %s', (refusal, characters, expected) => {
  expect(limitFor(refusal, characters)).toBe(expected);
});
