import { describe, expect, it } from 'vitest';
import { isRunMark, MarkRun } from './mark-run.ts';

function runOf(marks: string): MarkRun {
  const units = Array.from(marks, (character, offset) => ({ character, offset }));
  const [first = { character: '', offset: 0 }, ...rest] = units;
  const run = new MarkRun(first);
  for (const unit of rest) expect(run.add(unit)).toBe(true);
  return run;
}

it('takes marks of its kind only', () => {
  const run = runOf('**');
  expect(run.add({ character: '_', offset: 2 })).toBe(false);
  expect(run.units).toHaveLength(2);
});

describe('is said', () => {
  it.each([
    ['5', '*', '3'],
    [' ', '*', ' '],
    ['2', '**', '3'],
    ['snake', '_', 'case'],
    ['', '~', '5'],
    ['', '*', ' '],
  ])('%j %s %j', (before, marks, behind) => {
    const place = { previous: before.at(-1) ?? '', next: behind.charAt(0), inCode: false };
    expect(runOf(marks).isSaid(place)).toBe(true);
  });

  it('in code', () => {
    expect(runOf('*').isSaid({ previous: '(', next: 'a', inCode: true })).toBe(true);
  });
});

describe('is not said', () => {
  it.each([
    [' ', '*', 'word'],
    ['word', '*', ''],
    ['word', '**', 'word'],
    [' ', '_', ' '],
    ['a', '~~', 'b'],
    ['2', '***', '3'],
    ['a', '`', 'b'],
  ])('%j %s %j', (before, marks, behind) => {
    const place = { previous: before.at(-1) ?? '', next: behind.charAt(0), inCode: false };
    expect(runOf(marks).isSaid(place)).toBe(false);
  });

  it('in code, when it is long or of backticks', () => {
    const place = { previous: 'a', next: 'b', inCode: true };
    for (const marks of ['***', '`']) expect(runOf(marks).isSaid(place)).toBe(false);
  });
});

it('knows which marks come in runs', () => {
  expect(Array.from('*_~`#-a').filter((character) => isRunMark(character))).toEqual([
    ...['*', '_', '~', '`'],
  ]);
});
