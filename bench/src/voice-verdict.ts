import { median } from './statistics.ts';
import { VOICE_AIMS } from './voice-cases.ts';
import type { VoiceCaseResult, VoiceFigures, VoiceSideName } from './voice-rounds.ts';

export type VoiceAim = keyof typeof VOICE_AIMS;

export interface VoiceVerdict {
  /** antiphon's added p50 ÷ and less the bare loop's, one per round; empty without one of them. */
  ratios: number[];
  differencesMs: number[];
  /** The median over antiphon's rounds, held against each aim; empty without antiphon. */
  reached: Partial<Record<VoiceAim, { value: number; met: boolean }>>;
}

/** The median over the rounds of a side's figure; undefined if it did not run. */
export function medianOf(
  { rounds }: VoiceCaseResult,
  side: VoiceSideName,
  figure: Exclude<keyof VoiceFigures, 'cores'>,
): number | undefined {
  const values = rounds.flatMap((round) => round.figures[side]?.[figure] ?? []);
  return values.length === 0 ? undefined : median(values);
}

/** Sums up a case: the peer is compared within a round, the medians over rounds decide. */
export function voiceVerdictOf(result: VoiceCaseResult): VoiceVerdict {
  const pairs = result.rounds.flatMap(({ figures: { antiphon, bare } }) =>
    antiphon && bare ? [{ ours: antiphon.addedP50Ms, theirs: bare.addedP50Ms }] : [],
  );
  const reached: VoiceVerdict['reached'] = {};
  for (const aim of ['addedP50Ms', 'addedP95Ms', 'sinceBoundaryP50Ms'] as const) {
    const value = medianOf(result, 'antiphon', aim);
    if (value !== undefined) reached[aim] = { value, met: value <= VOICE_AIMS[aim] };
  }
  return {
    ratios: pairs.map(({ ours, theirs }) => ours / theirs),
    differencesMs: pairs.map(({ ours, theirs }) => ours - theirs),
    reached,
  };
}
