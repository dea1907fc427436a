import { array, assert, constantFrom, integer, property } from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cutText } from './cut-text.ts';

const letters = (text: string) => text.match(/[\p{L}\p{N}]/gu) ?? [];

describe('what is not said, and is longer than a piece', () => {
  it('is left out, and what stands around it is said', () => {
    const pieces = cutText(`${'a '.repeat(10)}${'.'.repeat(6000)} end`, 4096);
    expect(pieces[0]?.trim()).toBe('a '.repeat(10).trim());
    expect(pieces.at(-1)).toMatch(/^\.* end$/);
    for (const piece of pieces) expect(piece.length).toBeLessThanOrEqual(4096);
  });

  it('alone is nothing', () => {
    expect(cutText('.'.repeat(5000), 4096)).toStrictEqual([]);
  });
});

it('no letter is cut in two', () => {
  const pieces = cutText('𝒜'.repeat(3000), 4095);
  for (const piece of pieces) expect(piece.isWellFormed()).toBe(true);
  expect(pieces.join('')).toBe('𝒜'.repeat(3000));
});

it('no piece is too long or silent, and nothing that is said is lost', () => {
  const part = constantFrom('word ', 'Sentence. ', 'x'.repeat(50), '.'.repeat(90), ' ', '\n', '𝒜');
  const isCut = property(
    array(part, { maxLength: 60 }),
    integer({ min: 20, max: 80 }),
    (all, most) => {
      const text = all.join('');
      const pieces = cutText(text, most);
      expect(letters(pieces.join(''))).toStrictEqual(letters(text));
      if (text.length <= most) return;
      for (const piece of pieces) {
        expect(piece.length).toBeLessThanOrEqual(most);
        expect(piece).toMatch(/[\p{L}\p{N}]/u);
      }
    },
  );
  assert(isCut, { numRuns: 300, seed: 20_261_121 });
});
