import {
  array,
  assert,
  boolean,
  configureGlobal,
  constantFrom,
  integer,
  property,
  record,
} from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type BookChapter, cutBook } from './book-chapters.ts';

/** The same texts in every run; `FAST_CHECK_SEED=7 npx vitest run src/batch` tries others. */
configureGlobal({ seed: Number(process.env['FAST_CHECK_SEED'] ?? 20_261_121) });

const plain = (text: string) => cutBook(text, { markdown: false, title: 'book' });
const markdown = (text: string) => cutBook(text, { markdown: true, title: 'book' });
const shape = (chapters: BookChapter[]) =>
  chapters.map(({ number, title, parts }) => [number, title, ...parts.map(({ text }) => text)]);
const titles = (chapters: BookChapter[]) => chapters.map(({ title }) => title);
const words = (text: string) => text.match(/[\p{L}\p{N}]+/gu) ?? [];
const spoken = (chapters: BookChapter[]) =>
  chapters.flatMap(({ parts }) => parts.flatMap(({ text }) => words(text)));

describe('plain text', () => {
  it('is hard-wrapped: lines are joined, blank lines end paragraphs', () => {
    const text =
      '\ufeffA Book\nby Nobody\n\n\nCHAPTER I.\nThe Door\n\nIt was\r\nopen.\n  \nThen  it shut.\n';
    expect(shape(plain(text))).toStrictEqual([
      [0, 'Beginning', 'A Book by Nobody'],
      [1, 'CHAPTER I. The Door', 'CHAPTER I. The Door', 'It was open.', 'Then  it shut.'],
    ]);
    expect(plain(text)[1]?.parts.map(({ pauseMs }) => pauseMs)).toStrictEqual([1000, 700, 700]);
  });

  it.each([
    ['CHAPTER IV'],
    ['Chapter 3. Title'],
    ['CHAPTER XXXIX. In Which It Rains'],
    ['Chapter Twenty-One'],
    ['CHAPTER THE FIRST'],
    ['PART TWO: THE RIVER'],
    ['Erstes Kapitel'],
    ['Kapitel 12'],
    ['Chapitre 5 — La porte'],
    ['# Marked'],
    ['## Marked too'],
  ])('%j begins a chapter', (heading) => {
    const title = heading.replace(/^#+ /, '');
    const text = `Before.\n\n${heading}\n\nAfter.`;
    expect(shape(plain(text))).toStrictEqual([
      [0, 'Beginning', 'Before.'],
      [1, title, title, 'After.'],
    ]);
  });

  it.each([
    ['Chapter 4 was the longest of them all, and nobody read it.'],
    ['chapter 5'],
    ['Das Buch'],
    ['Part of it was gone.'],
    ['12'],
    ['I'],
    ['Prologue'],
    ['Mix'],
    [`CHAPTER I. ${'and so on '.repeat(12)}`],
  ])('%j begins none', (line) => {
    expect(titles(plain(`Before.\n\n${line}\n\nAfter.`))).toStrictEqual(['book']);
  });

  it('numbers alone are chapters where nothing surer is, and more than one', () => {
    const text = 'I\n\nOne.\n\nII.\n\nTwo.\n\nIII. THE LAST\n\nThree.\n\nEpilogue\n\nGone.';
    expect(titles(plain(text))).toStrictEqual(['I', 'II.', 'III. THE LAST', 'Epilogue']);
    const paged = `CHAPTER I\n\nOne.\n\n1\n\nmore.\n\n2\n\nCHAPTER II\n\nTwo.`;
    expect(shape(plain(paged))[0]).toStrictEqual([
      1,
      'CHAPTER I',
      'CHAPTER I',
      'One.',
      '1',
      'more.',
      '2',
    ]);
  });

  it('a heading without text is said before the next; a list of contents is a paragraph', () => {
    const text =
      'CHAPTER I\nCHAPTER II\nCHAPTER III\nCHAPTER IV\n\nPART ONE\n\nCHAPTER I\n\nText.\n\nTHE END';
    expect(shape(plain(text))).toStrictEqual([
      [0, 'Beginning', 'CHAPTER I CHAPTER II CHAPTER III CHAPTER IV'],
      [1, 'CHAPTER I', 'PART ONE', 'CHAPTER I', 'Text.', 'THE END'],
    ]);
    expect(shape(plain('One.\n\nCHAPTER I\n\nCHAPTER II'))).toStrictEqual([
      [0, 'Beginning', 'One.'],
      [1, 'CHAPTER II', 'CHAPTER I', 'CHAPTER II'],
    ]);
  });

  it('what says nothing is no part', () => {
    expect(shape(plain('One.\n\n* * *\n\nTwo.'))).toStrictEqual([[1, 'book', 'One.', 'Two.']]);
    expect(plain(' \n\n---\n')).toStrictEqual([]);
  });

  it('a paragraph over the limit is cut at sentences, with no pause of ours inside', () => {
    const paragraph = 'Here is one more sentence. '.repeat(400).trim();
    const [chapter] = plain(paragraph);
    const parts = chapter?.parts ?? [];
    expect(parts.length).toBe(3);
    expect(parts.map(({ pauseMs }) => pauseMs)).toStrictEqual([0, 0, 700]);
    for (const { text } of parts) expect(text).toMatch(/^Here [^]{0,4090}\.$/);
    expect(parts.map(({ text }) => text).join(' ')).toBe(paragraph);
  });
});

describe('Markdown', () => {
  it('is cut at headings of two levels and said without its marks', () => {
    const text = [
      '# The *Whole* Book\n\nFor **you**.\n\n## First [door](http://x.org)\n\nIt is `open`.\nStill.',
      '### A lower heading\n\n- one\n- two\n\n```\n# not a heading\n```\nSecond\n------\n\nEnd.\n',
    ].join('\n\n');
    expect(shape(markdown(text))).toStrictEqual([
      [1, 'The Whole Book', 'The Whole Book', 'For you.'],
      [2, 'First door', 'First door', 'It is open. Still.', 'A lower heading', 'one', 'two'],
      [3, 'Second', 'Second', 'End.'],
    ]);
  });
});

const WORDS = [
  'alpha',
  'Beta',
  'gamma.',
  'delta,',
  'Epsilon',
  '42',
  'Zeta!',
  'η',
  'öl',
  '"so"',
  'x-y',
  'e.g.',
];
const paragraph = array(constantFrom(...WORDS), { minLength: 3, maxLength: 60 });
const section = record({
  heading: constantFrom('CHAPTER I', 'Chapter 2. The title', 'PART ONE', 'II', 'Preface', ''),
  paragraphs: array(paragraph, { maxLength: 5 }),
  width: integer({ min: 1, max: 20 }),
  long: boolean(),
});

it('no word is lost or doubled, and their order is kept', () => {
  const isBook = property(array(section, { maxLength: 8 }), boolean(), (sections, asMarkdown) => {
    const blocks = sections.flatMap(({ heading, paragraphs, width, long }) => [
      asMarkdown && heading !== '' ? `## ${heading}` : heading,
      ...paragraphs.map((some) =>
        wrapped(long ? Array.from({ length: 30 }, () => some).flat() : some, width),
      ),
    ]);
    const text = blocks.join('\n\n');
    const chapters = asMarkdown ? markdown(text) : plain(text);
    expect(spoken(chapters)).toStrictEqual(words(text));
    const numbers = chapters.map(({ number }) => number);
    const first = numbers[0] ?? 0;
    expect(numbers).toStrictEqual(numbers.map((_, at) => first + at));
    for (const { parts } of chapters) {
      expect(parts.length).toBeGreaterThan(0);
      for (const { text: part } of parts) expect(part).toMatch(/^\S[^\n]{0,4095}$/);
    }
  });
  assert(isBook, { numRuns: 200 });
});

function wrapped(some: readonly string[], width: number): string {
  return some.map((word, at) => word + ((at + 1) % width === 0 ? '\n' : ' ')).join('');
}
