import type { VoiceFormat, VoicePlan } from './voice-plan.ts';

export interface VoiceCase {
  name: string;
  title: string;
  rounds: number;
  plan: VoicePlan;
}

/** The aims of the issue, for antiphon's figures; milliseconds. */
export const VOICE_AIMS = { addedP50Ms: 15, addedP95Ms: 40, sinceBoundaryP50Ms: 150 } as const;

const VOICES = 20;

function spread(format: VoiceFormat, quick: boolean): VoiceCase {
  return {
    name: `voice-20-${format}`,
    title: `20 voices, ${format}`,
    rounds: quick ? 1 : 3,
    plan: {
      kind: 'spread',
      format,
      voices: VOICES,
      // 14 answers a second: more than 200 are counted.
      warmUpMs: quick ? 1500 : 2500,
      measureMs: quick ? 4000 : 16_000,
    },
  };
}

function burst(format: VoiceFormat, quick: boolean): VoiceCase {
  return {
    name: `voice-burst-20-${format}`,
    title: `20 voices at once, ${format}`,
    rounds: quick ? 1 : 3,
    plan: { kind: 'burst', format, voices: VOICES, bursts: quick ? 3 : 10 },
  };
}

/** All cases of spoken answers. `quick`: fewer answers and rounds, for a look at a change. */
export function voiceCases(quick: boolean): VoiceCase[] {
  return [spread('pcm16', quick), spread('mp3', quick), burst('pcm16', quick), burst('mp3', quick)];
}

/** What each side does before the first round, so that no figure holds a compiler's work. */
export const VOICE_WARM_UP: VoicePlan[] = [
  { kind: 'burst', format: 'pcm16', voices: VOICES, bursts: 2 },
  { kind: 'burst', format: 'mp3', voices: VOICES, bursts: 2 },
];
