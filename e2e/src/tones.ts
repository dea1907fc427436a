import { spokenPcm, toneHz } from '@antiphon/testing/openai-server/speech';

const SAMPLE_RATE_HZ = 24_000;
const WINDOW_SAMPLES = SAMPLE_RATE_HZ / 100;
/** Quieter than this is silence; the tones have 9,000. */
const SOUND_PEAK = 500;

export interface Tone {
  hz: number;
  seconds: number;
}

/** The tones in s16le mono at 24 kHz, in order: what the scripted server says, phrase by phrase. */
export function tonesIn(pcm: Buffer): Tone[] {
  const samples = new Int16Array(Uint8Array.from(pcm).buffer);
  const tones: Tone[] = [];
  let start: number | undefined;
  for (let at = 0; at <= samples.length; at += WINDOW_SAMPLES) {
    const loud = samples
      .subarray(at, at + WINDOW_SAMPLES)
      .some((one) => Math.abs(one) > SOUND_PEAK);
    if (loud) start ??= at;
    if (loud || start === undefined) continue;
    tones.push(measure(samples.subarray(start, at)));
    start = undefined;
  }
  if (start !== undefined) tones.push(measure(samples.subarray(start)));
  return tones;
}

function measure(samples: Int16Array): Tone {
  const crossings: number[] = [];
  for (let at = 1; at < samples.length; at += 1) {
    if ((samples[at - 1] ?? 0) < 0 !== (samples[at] ?? 0) < 0) crossings.push(at);
  }
  // From the first to the last but one: the silence around the tone is not counted, and of one that
  // was broken off the last crossing is where its fade of 2.5 ms ends, no half wave behind the others.
  const waves = (crossings.length - 2) / 2;
  const waveSamples = (crossings.at(-2) ?? 0) - (crossings[0] ?? 0);
  return { hz: (waves / waveSamples) * SAMPLE_RATE_HZ, seconds: samples.length / SAMPLE_RATE_HZ };
}

/** What the scripted server says for a phrase. */
export const toneOf = (text: string): Tone => ({
  hz: toneHz(text),
  seconds: spokenPcm(text).length / 2 / SAMPLE_RATE_HZ,
});

/** Whether two are the same, as far as a tone can be measured. */
export const isSameTone = (one: Tone, other: Tone): boolean =>
  Math.abs(one.hz - other.hz) < 5 && Math.abs(one.seconds - other.seconds) < 0.05;

/** Whether a tone, maybe cut short, is of this one: a few waves tell its frequency less exactly. */
export const isToneOf = (heard: Tone, whole: Tone): boolean =>
  Math.abs(heard.hz - whole.hz) < (heard.seconds < 0.1 ? 30 : 5) &&
  heard.seconds < whole.seconds + 0.05;
