import { expect, test } from 'vitest';
import { KeySearch } from './key-search.ts';

const search = new KeySearch('error');

test.each([
  ['{"error":1}', 9],
  ['{"error" \t: "x"}', 12],
  ['{"errors":1,"error":{', 20],
  ['{"a":"error","error":2}', 21],
  ['"error":', 8],
])('finds the value in %s', (text, at) => {
  expect(search.nextValue(Buffer.from(text), 0)).toBe(at);
});

test.each([
  '',
  '"',
  '"error"',
  '"error" ',
  '{"a":"error"}',
  '{"a":"\\"error\\":1"}',
  '"errorerror":1',
])('finds none in %s', (text) => {
  expect(search.nextValue(Buffer.from(text), 0)).toBe(-1);
});

test('agrees with a plain search for random bytes', () => {
  const letters = ['"', 'e', 'r', 'o', ':', ' ', '"error"', '"error":'];
  let seed = 5;
  for (let round = 0; round < 3000; round += 1) {
    const text = Array.from({ length: 30 }, () => {
      seed = (seed * 48_271) % 2_147_483_647;
      return letters[seed % letters.length];
    }).join('');
    const match = /"error"[ ]*:[ ]*/.exec(text);
    const expected = match === null ? -1 : match.index + match[0].length;
    expect([text, search.nextValue(Buffer.from(text), 0)]).toEqual([text, expected]);
  }
});
