import type { TokenScript } from './token-script.ts';

/** Where the load goes: the upstream itself or a gateway before it. */
export interface LoadTarget {
  port: number;
  headers: Record<string, string>;
}

/**
 * How streams follow each other.
 * sequential: one at a time, `requests` of them.
 * steady: `streams` are kept going, each replaced as it ends; those started in the first `warmUpMs` are not counted, then `measureMs` of starts are.
 * burst: `streams` at once, `requests` bursts.
 */
export type LoadPlan =
  | { kind: 'sequential'; script: TokenScript; requests: number }
  | { kind: 'steady'; script: TokenScript; streams: number; warmUpMs: number; measureMs: number }
  | { kind: 'burst'; script: TokenScript; streams: number; requests: number };

export interface LoadOrder {
  target: LoadTarget;
  plan: LoadPlan;
}

/** What the client saw. Times in milliseconds. */
export interface LoadResult {
  /** Request sent → first token here; one per counted stream. */
  firstTokenMs: number[];
  /** Token written by the upstream → here; the first 200,000 tokens of the counted streams. */
  tokenLatencyMs: Float64Array;
  /** Longest pause between two tokens of a counted stream. */
  longestPauseMs: number;
  streams: number;
  tokens: number;
  /** With those of streams that are not counted. */
  allTokens: number;
  /** First request sent → last stream ended. */
  elapsedMs: number;
}

export type LoadReply = { result: LoadResult } | { failure: string };
