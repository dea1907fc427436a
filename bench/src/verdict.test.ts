import { expect, test } from 'vitest';
import type { BenchCase } from './cases.ts';
import type { CaseResult, Figures } from './rounds.ts';
import type { SideName } from './sides.ts';
import { verdictOf } from './verdict.ts';

function figures(firstTokenP50Ms: number, tokensPerSecond = 0): Figures {
  return {
    firstTokenP50Ms,
    firstTokenP99Ms: firstTokenP50Ms,
    tokenLatencyP50Ms: 0,
    tokenLatencyP99Ms: 0,
    longestPauseMs: 0,
    streams: 1,
    tokensPerSecond,
    cpuMicrosecondsPerToken: 0,
    cores: {},
  };
}

function resultOf(
  benchCase: Partial<BenchCase>,
  rounds: Partial<Record<SideName, Figures>>[],
): CaseResult {
  return {
    benchCase: {
      name: 'x',
      title: 'x',
      figure: 'first-token',
      rounds: rounds.length,
      plan: { kind: 'sequential', requests: 1, script: { tokens: 1, tokensPerSecond: 50 } },
      ...benchCase,
    },
    rounds: rounds.map((round) => ({ order: [], figures: round })),
  };
}

test('what is added is taken within a round, and the median of the rounds decides', () => {
  const rounds = [
    { direct: figures(1), antiphon: figures(4), portkey: figures(31) },
    { direct: figures(5), antiphon: figures(7), portkey: figures(25) },
    { direct: figures(1), antiphon: figures(101), portkey: figures(51) },
  ];
  const verdict = verdictOf(resultOf({ aim: { of: 'ratio', atMost: 0.4 } }, rounds));
  expect(verdict.addedMs).toEqual({ antiphon: [3, 2, 100], portkey: [30, 20, 50] });
  expect(verdict.ratios).toEqual([0.1, 0.1, 2]);
  expect(verdict.reached).toEqual({ value: 0.1, met: true });
  expect(verdictOf(resultOf({ aim: { of: 'added', atMostMs: 2.5 } }, rounds)).reached).toEqual({
    value: 3,
    met: false,
  });
});

test('throughput is compared as it is', () => {
  const rounds = [{ antiphon: figures(0, 300), portkey: figures(0, 100) }];
  const aim = { of: 'ratio', atLeast: 2 } as const;
  expect(verdictOf(resultOf({ figure: 'throughput', aim }, rounds))).toEqual({
    addedMs: {},
    ratios: [3],
    reached: { value: 3, met: true },
  });
});

test('without the peer there is no ratio and nothing reached', () => {
  const rounds = [{ direct: figures(1), antiphon: figures(4) }];
  const verdict = verdictOf(resultOf({ aim: { of: 'ratio', atMost: 0.4 } }, rounds));
  expect(verdict.ratios).toEqual([]);
  expect(verdict.reached).toBeUndefined();
});
