/** How one voice that clients may name is made from one of flite's. */
export interface FliteVoice {
  /** flite's own name of it. */
  base: 'slt' | 'rms' | 'awb' | 'kal' | 'kal16';
  /** Factor on the pitch. rms ignores it, its samples stay the same to the byte. */
  pitch: number;
  /**
   * Rate at which the samples are played, when it is not the voice's own: it moves pitch and
   * formants together, like a smaller or larger speaker; the length is corrected for it.
   */
  playedRateHz?: number;
  description: string;
}

/**
 * All voices; the first is the default. awb_time, which the package has too, is left out: it knows
 * only the words that tell the time. Measured pitches: slt 176 Hz, rms 103, awb 133, kal16 90.
 * OpenAI's thirteen were tried on pocketsphinx with three sentences: played rates outside 0.9 to
 * 1.1 of the own one, and pitches much above, cost it words.
 */
export const FLITE_VOICES: Record<string, FliteVoice> = {
  slt: { base: 'slt', pitch: 1, description: 'US English, female' },
  rms: { base: 'rms', pitch: 1, description: 'US English, male' },
  awb: { base: 'awb', pitch: 1, description: 'Scottish English, male' },
  kal16: { base: 'kal16', pitch: 1, description: 'US English, male, diphones' },
  kal: { base: 'kal', pitch: 1, description: 'US English, male, diphones at 8 kHz' },
  alloy: { base: 'slt', pitch: 1, description: 'slt' },
  ash: { base: 'awb', pitch: 0.88, description: 'awb, lower' },
  ballad: { base: 'awb', pitch: 1, description: 'awb' },
  coral: { base: 'slt', pitch: 1.13, description: 'slt, higher' },
  echo: { base: 'rms', pitch: 1, description: 'rms' },
  fable: { base: 'awb', pitch: 1.15, description: 'awb, higher' },
  onyx: { base: 'rms', pitch: 1, playedRateHz: 15_000, description: 'rms, larger' },
  nova: { base: 'slt', pitch: 1.08, description: 'slt, a little higher' },
  sage: { base: 'slt', pitch: 0.88, description: 'slt, lower' },
  shimmer: { base: 'slt', pitch: 1.16, playedRateHz: 16_800, description: 'slt, smaller' },
  verse: { base: 'rms', pitch: 1, playedRateHz: 17_600, description: 'rms, smaller' },
  marin: { base: 'slt', pitch: 0.94, description: 'slt, a little lower' },
  cedar: { base: 'awb', pitch: 1, playedRateHz: 14_400, description: 'awb, larger' },
};

/** All of flite's voices but kal have this rate. */
const OWN_RATE_HZ = 16_000;

/** flite's arguments for a voice at a speed (0.25 to 4). */
export function fliteArguments(voice: FliteVoice, speed: number): string[] {
  const playedFaster = (voice.playedRateHz ?? OWN_RATE_HZ) / OWN_RATE_HZ;
  return [
    '-voice',
    voice.base,
    '--setf',
    `duration_stretch=${(playedFaster / speed).toFixed(4)}`,
    '--setf',
    `f0_shift=${voice.pitch}`,
  ];
}
