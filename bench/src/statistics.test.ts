import { describe, expect, test } from 'vitest';
import { median, quantile, rotated } from './statistics.ts';

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
