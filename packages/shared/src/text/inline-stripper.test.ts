import { describe, expect, it } from 'vitest';
import { InlineStripper } from './inline-stripper.ts';

/** What is said, blocks separated by `|`. */
function strip(...blocks: string[]): string {
  let said = '';
  const stripper = new InlineStripper({
    character: (character) => (said += character),
    boundary: () => (said += '|'),
    peek: () => undefined,
    end: () => undefined,
  });
  let offset = 0;
  for (const [index, block] of blocks.entries()) {
    if (index > 0) stripper.boundary();
    for (const character of block) stripper.character(character, offset++);
  }
  stripper.end();
  return said;
}

describe('marks', () => {
  it.each([
    ['*a* **b** ~~c~~ `d`', 'a b c d'],
    ['a * b, 2**3, snake_case', 'a * b, 2**3, snake_case'],
    ['`snake_*x*` and *y*', 'snake_*x* and y'],
    [String.raw`\*a\* \# b\c`, String.raw`*a* # b\c`],
    ['a[0] [b] ![c] d!', 'a[0] b c d!'],
    ['an open *mark', 'an open mark'],
  ])('%j is %j', (text, said) => {
    expect(strip(text)).toBe(said);
  });
});

describe('what is held', () => {
  it.each([
    ['[a](http://b.c/d "e") f', 'a f'],
    ['a <b>c</b> <!-- d -->e', 'a c e'],
    ['a <br>b', 'a|b'],
    ['a < b and <', 'a < b and <'],
    ['it costs $5 and $10', 'it costs $5 and $10'],
    [String.raw`so $x^2$ or \(y\) is`, 'so or is'],
    ['see https://a.example/b?c=d.', 'see a.example.'],
    ['<https://a.example/b> and <me@a.example>', 'a.example and me@a.example'],
  ])('%j is %j', (text, said) => {
    expect(strip(text)).toBe(said);
  });
});

it('says nothing of what a model thinks', () => {
  expect(strip('a<think>b *c* https://d.e</think>f')).toBe('a|f');
});

it('takes nothing from one block into the next', () => {
  expect(strip('`a *b*', '*c* a[0', 'd]')).toBe('a *b*|c a[0|d');
});
