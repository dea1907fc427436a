import { describe, expect, test } from 'vitest';
import { median, quantile, rotated, seededRandom } from './statistics.ts';

describe('quantile', () => {
  test('sorts by value, not by text', () => {
    expect(quantile([10, 9, 100, 1], 1)).toBe(100);
    expect(quantile([10, 9, 100, 1], 0)).toBe(1);
  });

  test('interpolates between neighbours', () => {
    expect(median([4, 1, 3, 2])).toBe(2.5);
    expect(quantile([0, 10], 0.99)).toBeCloseTo(9.9);
  });

  test('leaves its input alone and takes typed arrays', () => {
    const values = Float64Array.of(3, 1, 2);
    expect(median(values)).toBe(2);
    expect([...values]).toEqual([3, 1, 2]);
  });

  test('is not a number of nothing', () => {
    expect(median([])).toBeNaN();
  });
});

test('rotated gives each side each place once', () => {
  const sides = ['a', 'b', 'c'];
  expect([0, 1, 2, 3].map((round) => rotated(sides, round).join(''))).toEqual([
    'abc',
    'bca',
    'cab',
    'abc',
  ]);
});

test('random numbers are the same for the same seed, spread evenly', () => {
  const draw = (seed: number): number[] => Array.from({ length: 1000 }, seededRandom(seed));
  const numbers = draw(20);
  expect(draw(20)).toEqual(numbers);
  expect(draw(21)).not.toEqual(numbers);
  expect(numbers.every((number) => number >= 0 && number < 1)).toBe(true);
  for (const p of [0.1, 0.5, 0.9]) expect(quantile(numbers, p)).toBeCloseTo(p, 1);
});
