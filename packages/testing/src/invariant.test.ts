import { describe, expect, it } from 'vitest';
import {
  BROKEN_PROMISE,
  type LogEntry,
  expectUnbroken,
  logViolations,
  phraseViolations,
  type SeenStream,
  violations,
} from './invariant.ts';

const whole: SeenStream = {
  status: 200,
  contents: ['t0 ', 't1 ', 't2 '],
  finishReasons: ['stop'],
  ends: ['done'],
  framesAfterEnd: 0,
  durationMs: 10,
};
const cut: SeenStream = {
  ...whole,
  contents: ['t0 ', 't1 '],
  finishReasons: [],
  ends: ['error:x'],
};
const check = (seen: SeenStream) => violations(seen, { tokenCount: 3, maxMs: 1000 });

describe('a stream', () => {
  it('may be whole, or cut by an error', () => {
    expect(check(whole)).toEqual([]);
    expect(check(cut)).toEqual([]);
    expect(check({ ...cut, contents: ['t0 ', 't'] })).toEqual([]);
    expect(check({ ...cut, contents: [] })).toEqual([]);
  });

  it('may break only where nobody can tell an error', () => {
    const broken: SeenStream = { ...cut, ends: ['broken'] };
    expect(check(broken)).not.toEqual([]);
    const promised = { tokenCount: 3, maxMs: 1000, mayBreak: true };
    expect(violations(broken, promised)).toEqual([]);
    expect(violations({ ...broken, contents: ['t0 ', 't0 '] }, promised)).not.toEqual([]);
  });

  it.each<[string, SeenStream]>([
    ['a hole', { ...whole, contents: ['t0 ', 't2 '] }],
    ['a double', { ...cut, contents: ['t0 ', 't1 ', 't1 '] }],
    ['another order', { ...cut, contents: ['t1 ', 't0 '] }],
    ['a second answer', { ...whole, contents: ['t0 ', 't1 ', 't0 ', 't1 ', 't2 '] }],
    ['more than all', { ...whole, contents: ['t0 ', 't1 ', 't2 ', 't3 '] }],
    ['a good end too early', { ...whole, contents: ['t0 '] }],
    ['two ends', { ...cut, ends: ['error:x', 'done'] }],
    ['no end', { ...cut, ends: ['open-end'] }],
    ['an internal error', { ...cut, ends: ['error:internal_error'] }],
    ['no finish reason', { ...whole, finishReasons: [] }],
    ['words behind the end', { ...whole, framesAfterEnd: 1 }],
    ['a hang', { ...whole, durationMs: 1001 }],
  ])('may not have %s', (_what, seen) => {
    expect(check(seen)).not.toEqual([]);
  });
});

it('a broken promise is told as one', () => {
  expect(() => expectUnbroken([])).not.toThrow();
  expect(() => expectUnbroken(['a hole', 'no end'])).toThrow(`${BROKEN_PROMISE}a hole; no end`);
});

describe('phrases', () => {
  const isSame = (heard: string, said: string) => heard === said;
  const isStart = (heard: string, said: string) => said.startsWith(heard);
  const of = (heard: string[], whole: boolean) =>
    phraseViolations(heard, ['one', 'two', 'three'], { isSame, isStart, whole });

  it('are all of them, or the first ones', () => {
    expect(of(['one', 'two', 'three'], true)).toEqual([]);
    expect(of(['one', 'tw'], false)).toEqual([]);
  });

  it('are never doubled, left out or mixed up', () => {
    expect(of(['one', 'one', 'two'], false)).not.toEqual([]);
    expect(of(['one', 'three'], false)).not.toEqual([]);
    expect(of(['one', 'two'], true)).not.toEqual([]);
    expect(of(['one', 'two', 'thr'], true)).not.toEqual([]);
    expect(of(['one', 'two', 'three', 'three'], true)).not.toEqual([]);
  });
});

describe('a log', () => {
  const entry = (seq: number, flag = '.'): LogEntry => [`${seq}-0`, ['e', flag]];
  it('is contiguous and has one end, at its end', () => {
    expect(logViolations([entry(4), entry(5), entry(6, '!')], { ended: true })).toEqual([]);
    expect(logViolations([entry(1), entry(2)], { ended: false })).toEqual([]);
    expect(logViolations([entry(4), entry(5, '!')], { ended: true, whole: true })).not.toEqual([]);
    expect(logViolations([entry(1), entry(2, '!')], { ended: true, whole: true })).toEqual([]);
    expect(logViolations([entry(1), entry(3, '!')], { ended: true })).not.toEqual([]);
    expect(logViolations([entry(1), entry(2)], { ended: true })).not.toEqual([]);
    expect(logViolations([entry(1, '!'), entry(2, '!')], { ended: true })).not.toEqual([]);
    expect(logViolations([entry(1, '!'), entry(2)], { ended: true })).not.toEqual([]);
  });
});
