import { describe, expect, it } from 'vitest';
import { CutWeights } from './cut-weights.ts';

/** What is enough for each of six phrases. */
const enough = (isAwaited: boolean, kind: 'sentence' | 'clause' | 'spacelessClause'): number[] => {
  const weights = new CutWeights(isAwaited);
  return Array.from({ length: 6 }, () => {
    const weight = weights[kind];
    weights.count();
    return weight;
  });
};

describe('where somebody waits', () => {
  it('the first phrases are cut early, and each later than the one before', () => {
    expect(enough(true, 'clause')).toEqual([10, 25, 45, 80, 140, 140]);
  });

  it('the first one of a script without spaces is longer', () => {
    expect(enough(true, 'spacelessClause')).toEqual([20, 25, 45, 80, 140, 140]);
  });
});

it('no clause is cut early where nobody waits', () => {
  expect(enough(false, 'clause')).toEqual(Array<number>(6).fill(140));
  expect(enough(false, 'spacelessClause')).toEqual(Array<number>(6).fill(140));
});

it.each([true, false])('the first sentence may have any length (awaited: %s)', (isAwaited) => {
  expect(enough(isAwaited, 'sentence')).toEqual([0, 24, 24, 24, 24, 24]);
});

it('the first phrase is awaited until it is given', () => {
  const weights = new CutWeights(true);
  expect([weights.isFirst, weights.isFirstAwaited]).toEqual([true, true]);
  weights.count();
  expect([weights.isFirst, weights.isFirstAwaited]).toEqual([false, false]);
  expect(new CutWeights(false).isFirstAwaited).toBe(false);
});
