import { beforeEach, expect, it } from 'vitest';
import { OpenMarks } from './open-marks.ts';

let open: OpenMarks;
beforeEach(() => {
  open = new OpenMarks();
});

it('is in code from a run of backticks to the next of the same length', () => {
  expect(open.inCode).toBe(false);
  open.addTicks(2);
  open.addTicks(1);
  expect(open.inCode).toBe(true);
  open.addTicks(2);
  expect(open.inCode).toBe(false);
});

it('closes as many brackets as were kept', () => {
  open.keepBracket();
  open.keepBracket();
  expect([open.closeBracket(), open.closeBracket(), open.closeBracket()]).toEqual([
    ...[true, true, false],
  ]);
});

it('forgets both at the end of a line', () => {
  open.addTicks(1);
  open.keepBracket();
  open.reset();
  expect([open.inCode, open.closeBracket()]).toEqual([false, false]);
});
