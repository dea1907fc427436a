import type { LoadPlan } from './load-plan.ts';

/** What a case is judged by. */
export type Aim =
  | { of: 'added'; atMostMs: number }
  | { of: 'ratio'; atMost: number }
  | { of: 'ratio'; atLeast: number };

export interface BenchCase {
  name: string;
  title: string;
  /** What the table shows: time to first token, or tokens per second. */
  figure: 'first-token' | 'throughput';
  rounds: number;
  plan: LoadPlan;
  aim?: Aim;
}

const TOKENS_PER_SECOND = 50;
const FLOOD = 0;

function steady(streams: number, quick: boolean): LoadPlan {
  return {
    kind: 'steady',
    streams,
    // 2 s streams: 25 and 100 starts a second at 50 and 200 streams.
    script: { tokens: quick ? 50 : 100, tokensPerSecond: TOKENS_PER_SECOND },
    warmUpMs: quick ? 1000 : 2500,
    measureMs: quick ? 2500 : 5000,
  };
}

/** All cases, the aims of the issue beside them. `quick`: fewer rounds, for a look at a change. */
export function benchCases(quick: boolean): BenchCase[] {
  return [
    {
      name: 'first-token-1',
      title: 'First token, 1 stream',
      figure: 'first-token',
      rounds: quick ? 2 : 5,
      plan: {
        kind: 'sequential',
        requests: quick ? 15 : 30,
        script: { tokens: 8, tokensPerSecond: TOKENS_PER_SECOND },
      },
      aim: { of: 'added', atMostMs: 4 },
    },
    {
      name: 'first-token-50',
      title: 'First token, 50 streams kept going',
      figure: 'first-token',
      rounds: quick ? 1 : 3,
      plan: steady(50, quick),
      aim: { of: 'ratio', atMost: 0.4 },
    },
    {
      name: 'first-token-200',
      title: 'First token, 200 streams kept going',
      figure: 'first-token',
      rounds: quick ? 1 : 3,
      plan: steady(200, quick),
      aim: { of: 'ratio', atMost: 0.4 },
    },
    {
      name: 'burst-200',
      title: 'First token, 200 streams at once',
      figure: 'first-token',
      rounds: quick ? 1 : 3,
      plan: {
        kind: 'burst',
        streams: 200,
        requests: quick ? 1 : 3,
        script: { tokens: 50, tokensPerSecond: TOKENS_PER_SECOND },
      },
    },
    {
      name: 'flood-1',
      title: 'Flood, 1 stream',
      figure: 'throughput',
      rounds: quick ? 2 : 5,
      plan: {
        kind: 'burst',
        streams: 1,
        requests: 1,
        script: { tokens: quick ? 50_000 : 100_000, tokensPerSecond: FLOOD },
      },
      aim: { of: 'ratio', atLeast: 2 },
    },
    {
      name: 'flood-8',
      title: 'Flood, 8 streams at once',
      figure: 'throughput',
      rounds: quick ? 2 : 5,
      plan: {
        kind: 'burst',
        streams: 8,
        requests: 1,
        script: { tokens: quick ? 10_000 : 20_000, tokensPerSecond: FLOOD },
      },
      aim: { of: 'ratio', atLeast: 2 },
    },
  ];
}

/** What each side does before the first round, so that no figure holds a compiler's work. */
export const WARM_UP: LoadPlan[] = [
  {
    kind: 'burst',
    streams: 20,
    requests: 8,
    script: { tokens: 10, tokensPerSecond: TOKENS_PER_SECOND },
  },
  { kind: 'burst', streams: 2, requests: 3, script: { tokens: 20_000, tokensPerSecond: FLOOD } },
];
