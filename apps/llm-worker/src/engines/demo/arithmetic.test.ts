import { expect, test } from 'vitest';
import { calculate, writeNumber } from './arithmetic.ts';

test.each([
  ['what is 12 times 7?', 84],
  ['What is 12 x 7', 84],
  ['2+2', 4],
  ['2 + 2 =', 4],
  ["what's (2 + 3) * 4 - 1?", 19],
  ['calculate 0.1 + 0.2', 0.3],
  ['calculate .5 * 4', 2],
  ['How much is 1,200,000 divided by 4?', 300_000],
  ['what is 2 to the power of 10', 1024],
  ['what is 2 ^ 3 ^ 2', 512],
  ['what is -2 ^ 2', -4],
  ['what is 2 * -3', -6],
  ['What is 5 squared?', 25],
  ["what's 15% of 80?", 12],
  ['what is fifteen percent of eighty', 12],
  ['what is twelve times seven', 84],
  ['what is two thousand three hundred forty five minus forty five', 2300],
  ['please tell me what is 10 ÷ 4', 2.5],
  ['what is 7 − 9', -2],
])('%s', (prompt, result) => {
  expect(Number(writeNumber(calculate(prompt)?.result ?? NaN))).toBe(result);
});

test.each([
  'hello',
  '5',
  'I have 2 cats and 3 dogs',
  'call me at 5 + 5 pm', // no question
  'what is 5 +',
  'what is (5 + 3',
  'what is 5 + + ) 3',
  'what is love',
  '',
  `what is ${'('.repeat(100)}1+1${')'.repeat(100)}`,
  `what is ${'1+'.repeat(1000)}1`,
])('no calculation: %s', (prompt) => {
  expect(calculate(prompt)).toBeUndefined();
});

test('a division by zero has no result', () => {
  expect(calculate('what is 1 / 0')?.result).toBeNaN();
  expect(calculate('what is 9 ^ 999')?.result).toBe(Infinity);
});

test('is spoken in words', () => {
  expect(calculate('(2+3)*4')?.spoken).toBe('(2 plus 3) times 4');
});
