import { expect, it } from 'vitest';
import { FilterBank } from './filter-bank.ts';

const numbers = (length: number, seed: number): Float32Array =>
  Float32Array.from({ length }, (_, index) => Math.sin(index * seed + seed));

function product(row: Float32Array, samples: Float32Array, start: number): number {
  return row.reduce((sum, weight, tap) => sum + weight * (samples[start + tap] ?? NaN), 0);
}

it.each([1, 3, 4, 47, 48, 50])('weighs by rows of %d as one by one would', (taps) => {
  const rows = [numbers(taps, 0.3), numbers(taps, 1.7), numbers(taps, 2.1)];
  const bank = new FilterBank(rows);
  const samples = numbers(200, 0.9);
  expect(bank.load(numbers(5000, 7))).toBe(5000 - taps + 1);
  const places = bank.load(samples);
  expect(places).toBe(200 - taps + 1);
  for (const [index, row] of rows.entries()) {
    for (let start = 0; start < places; start += 1)
      expect(bank.weigh(index, start)).toBeCloseTo(product(row, samples, start), 4);
  }
});

it('takes no more samples than it has room for', () => {
  const row = numbers(48, 0.3);
  const bank = new FilterBank([row]);
  const samples = numbers(100_000, 0.9);
  const places = bank.load(samples);
  expect(places).toBe(8192);
  expect(bank.weigh(0, places - 1)).toBeCloseTo(product(row, samples, places - 1), 4);
});
