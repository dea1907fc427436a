import { describe, expect, it } from 'vitest';
import type { Unit } from './text-sink.ts';
import { UrlWord } from './url-word.ts';

const textOf = (units: readonly Unit[]): string => units.map(({ character }) => character).join('');

/** The word at the beginning of a text, and how many characters it took. */
function read(text: string) {
  const [first = { character: '', offset: 0 }, ...units] = Array.from(
    text,
    (character, offset): Unit => ({ character, offset }),
  );
  const word = new UrlWord(first);
  const end = units.findIndex((unit) => !word.add(unit));
  const { isUrl, said, trailing } = word;
  return {
    ...{ isUrl, said: textOf(said), trailing: textOf(trailing) },
    length: end < 0 ? units.length + 1 : end + 1,
  };
}

describe('a word that is none', () => {
  it.each([
    ['hello there', 'h'],
    ['http is', 'http'],
    ['https:/ x', 'https:/'],
    ['ww', 'ww'],
    ['what', 'w'],
  ])('%j is said as it is, as far as it might have been one', (text, said) => {
    expect(read(text)).toEqual({ isUrl: false, said, trailing: '', length: said.length });
  });
});

describe('an address', () => {
  it.each([
    ['https://example.org/a?b=c next', 'example.org', '', 25],
    ['HTTP://example.org', 'example.org', '', 18],
    ['www.example.org.', 'example.org', '.', 16],
    ['http://user@example.org:8080/x), and', 'example.org', '),', 32],
    ['https://a.b/c_(d) e', 'a.b', '', 17],
  ])('%j is said by its host', (text, said, trailing, length) => {
    expect(read(text)).toEqual({ isUrl: true, said, trailing, length });
  });
});
