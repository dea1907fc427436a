import { expect, test } from 'vitest';
import { presentableWords } from './presentable-words.ts';

const present = (entries: string[]) =>
  presentableWords(
    entries.map((entry) => ({ entry, startSeconds: 0, endSeconds: 1, probability: 1 })),
  ).map(({ entry }) => entry);

test('fillers go, marks of other pronunciations too', () => {
  const entries = [
    '<s>',
    'and(2)',
    '<sil>',
    '[NOISE]',
    'the',
    '[SPEECH]',
    '++UH++',
    'a(4)',
    '</s>',
  ];
  expect(present(entries)).toEqual(['And', 'the', 'a']);
  expect(present(['<s>', '<sil>', '</s>'])).toEqual([]);
});

test('the first word and I are capitalised, and nothing else', () => {
  expect(present(['so', 'i', "i'm", "i've(2)", 'in', 'it', "o'clock"])).toEqual([
    'So',
    'I',
    "I'm",
    "I've",
    'in',
    'it',
    "o'clock",
  ]);
  expect(present(["'cause", 'yes'])).toEqual(["'cause", 'yes']);
});
