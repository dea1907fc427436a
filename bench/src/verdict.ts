import type { Aim } from './cases.ts';
import type { CaseResult, Round } from './rounds.ts';
import type { SideName } from './sides.ts';
import { median } from './statistics.ts';

export interface Verdict {
  /** Time to first token less direct's, p50 per round; empty for throughput. */
  addedMs: Partial<Record<SideName, number[]>>;
  /** antiphon ÷ portkey, one per round: of added times, or of tokens per second. */
  ratios: number[];
  /** What the aim is held against; undefined without an aim or without the sides it needs. */
  reached?: { value: number; met: boolean };
}

/** What a side adds to the time to first token of direct in the same round. */
export function addedFirstTokenMs(round: Round, side: SideName): number | undefined {
  const direct = round.figures.direct;
  const via = round.figures[side];
  if (!direct || !via || side === 'direct') return undefined;
  return via.firstTokenP50Ms - direct.firstTokenP50Ms;
}

function figureOf(result: CaseResult, round: Round, side: SideName): number | undefined {
  if (result.benchCase.figure === 'first-token') return addedFirstTokenMs(round, side);
  return round.figures[side]?.tokensPerSecond;
}

function isNumber(value: number | undefined): value is number {
  return value !== undefined;
}

function isMet(aim: Aim, value: number): boolean {
  if (aim.of === 'added') return value <= aim.atMostMs;
  return 'atMost' in aim ? value <= aim.atMost : value >= aim.atLeast;
}

/** Sums up a case: every ratio is taken within a round, the median over rounds decides. */
export function verdictOf(result: CaseResult): Verdict {
  const { rounds, benchCase } = result;
  const added = (side: SideName): number[] =>
    rounds.map((round) => addedFirstTokenMs(round, side)).filter(isNumber);
  const verdict: Verdict = {
    addedMs:
      benchCase.figure === 'first-token'
        ? { antiphon: added('antiphon'), portkey: added('portkey') }
        : {},
    ratios: rounds
      .map((round) => {
        const ours = figureOf(result, round, 'antiphon');
        const theirs = figureOf(result, round, 'portkey');
        return isNumber(ours) && isNumber(theirs) ? ours / theirs : undefined;
      })
      .filter(isNumber),
  };
  if (!benchCase.aim) return verdict;
  const held = benchCase.aim.of === 'added' ? (verdict.addedMs.antiphon ?? []) : verdict.ratios;
  if (held.length === 0) return verdict;
  const value = median(held);
  return { ...verdict, reached: { value, met: isMet(benchCase.aim, value) } };
}
