import { expect, it } from 'vitest';
import { FenceStart } from './fence-start.ts';
import type { Unit } from './text-sink.ts';

const unitsOf = (text: string): Unit[] =>
  Array.from(text, (character, offset) => ({ character, offset }));

/** The verdict, and what is held when it is there. */
function read(marks: string, rest: string): [string, string] {
  const contentStart = marks.search(/[`~]/);
  const start = new FenceStart(unitsOf(marks), contentStart, marks.length - contentStart);
  let verdict = 'undecided';
  for (const unit of unitsOf(rest)) {
    verdict = start.add(unit);
    if (verdict !== 'undecided') break;
  }
  return [verdict, start.held.map(({ character }) => character).join('')];
}

it.each([
  ['```', 'js\ncode', 'fence', '```js\n'],
  ['> ~~~~', ' title\n', 'fence', '> ~~~~ title\n'],
  ['```', 'js', 'undecided', '```js'],
  ['```', 'code``` and text', 'text', '```code'],
  ['~~~', 'a `word`\n', 'fence', '~~~a `word`\n'],
])('%j before %j is %s', (marks, rest, verdict, held) => {
  expect(read(marks, rest)).toEqual([verdict, held]);
});

it('waits for the end of its line for a bounded length', () => {
  const [verdict, held] = read('```', 'x'.repeat(1000));
  expect(verdict).toBe('fence');
  expect(held.length).toBeLessThan(300);
});
