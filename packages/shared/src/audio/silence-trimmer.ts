import type { Pause } from '../text/pause.ts';
import { SAMPLE_RATE_HZ } from './audio-format.ts';
import { concatenate, SampleAligner, samplesToBytes } from './pcm.ts';

/** How long it is silent between a phrase that ends so and the next one (phrase-splitter, 10.6). */
export const PAUSE_MS = {
  none: 20,
  clause: 80,
  sentence: 250,
  paragraph: 450,
} as const satisfies Record<Pause, number>;

const FRAME_MS = 5;
const FRAME_SAMPLES = (SAMPLE_RATE_HZ / 1000) * FRAME_MS;
/**
 * From this RMS on, a frame is sound (-52 dBFS). Measured over 19 texts that begin or end with f,
 * h, s, th, p and t in eight of flite's voices and five of espeak's: where nobody speaks flite
 * hisses at 2 (rms) to 63 (awb), espeak gives zeros. The softest sounds are slt's th, at the end
 * of "path" 44 to 137 and at the start of "thing" 22 to 174; awb's f in "cuff" has 132 to 244,
 * espeak's softest f 165 to 282. With 80 and `LEAD_FRAMES` what is dropped next to a phrase is
 * nowhere above 57 over 50 ms, no louder than awb's hiss; with 128 it was 78.
 */
const SOUND_RMS = 80;
const SOUND_ENERGY = SOUND_RMS ** 2 * FRAME_SAMPLES;
/** What stays before the first sound: soft onsets rise for so long. No more than `PAUSE_MS.none`. */
const LEAD_FRAMES = 3;
/** From the last sample to zero where the engine broke off in the middle of a sound. */
const RAMP_SAMPLES = FRAME_SAMPLES / 2;

/**
 * Puts a phrase between silences of a known length, so that phrases can be joined: 15 ms before
 * its first sound, and behind its last one what makes the two together the pause that was asked
 * for. Both are the engine's own silence, cut (with a fade of 5 ms) or continued by zeros. Nothing
 * between the two is changed, and a phrase without sound is its pause alone.
 *
 * The same samples give the same samples, however they were cut: the grid of frames begins at the
 * first one. So a phrase that is synthesized again can be continued.
 */
export class SilenceTrimmer {
  readonly #aligner = new SampleAligner();
  readonly #pauseFrames: number;
  /** Samples of a frame that is not whole yet. */
  #partial = new Int16Array(0);
  #lastSample = 0;
  /** Whether sound has come. */
  #heard = false;
  /** Frames before the first sound that were dropped. */
  #dropped = false;
  /** Frames without sound, until it is known whether any follows. */
  #quiet: Int16Array[] = [];

  constructor(pause: Pause) {
    this.#pauseFrames = PAUSE_MS[pause] / FRAME_MS;
  }

  /**
   * Takes s16le mono at `SAMPLE_RATE_HZ`, any number of bytes; keeps none of its memory. Returns
   * all up to the last frame with sound (maybe nothing): sound waits 5 ms at most, only quiet
   * stretches wait for what follows.
   */
  push(pcm: Uint8Array): Uint8Array {
    return this.#take(this.#aligner.align(pcm));
  }

  /** Returns the rest and the pause, at least one sample in all of a phrase; nothing may follow. */
  end(): Uint8Array {
    const ramp = Int16Array.from(
      { length: RAMP_SAMPLES },
      (_, index) => this.#lastSample * (1 - (index + 1) / RAMP_SAMPLES),
    );
    const rest = this.#take(ramp);
    const missing = (FRAME_SAMPLES - this.#partial.length) % FRAME_SAMPLES;
    return concatenate([rest, this.#take(new Int16Array(missing)), ...this.#pause()]);
  }

  #take(samples: Int16Array): Uint8Array {
    const joined = new Int16Array(this.#partial.length + samples.length);
    joined.set(this.#partial);
    joined.set(samples, this.#partial.length);
    this.#lastSample = joined.at(-1) ?? this.#lastSample;
    const ready: Int16Array[] = [];
    let start = 0;
    for (; start + FRAME_SAMPLES <= joined.length; start += FRAME_SAMPLES) {
      const frame = joined.subarray(start, start + FRAME_SAMPLES);
      if (isSound(frame)) ready.push(...this.#release(), frame);
      else this.#hold(frame);
    }
    this.#partial = joined.slice(start);
    return concatenate(ready.map(samplesToBytes));
  }

  #hold(frame: Int16Array): void {
    this.#quiet.push(frame);
    if (this.#heard || this.#quiet.length <= LEAD_FRAMES) return;
    this.#quiet.shift();
    this.#dropped = true;
  }

  /** What goes before a frame with sound. */
  #release(): Int16Array[] {
    const released = this.#quiet;
    this.#quiet = [];
    if (this.#heard) return released;
    this.#heard = true;
    if (this.#dropped) fade(released[0], 'in');
    return [...silence(LEAD_FRAMES - released.length), ...released];
  }

  /** What goes behind the last frame with sound. */
  #pause(): Uint8Array[] {
    if (!this.#heard) return silence(this.#pauseFrames).map(samplesToBytes);
    const frames = this.#pauseFrames - LEAD_FRAMES;
    const own = this.#quiet.slice(0, frames);
    fade(own.at(-1), 'out');
    return [...own, ...silence(frames - own.length)].map(samplesToBytes);
  }
}

function isSound(frame: Int16Array): boolean {
  let energy = 0;
  // By index, and no further than needed: an iterator over every sample took 10 % of the event loop
  // of a worker that makes a batch.
  for (let index = 0; index < frame.length && energy < SOUND_ENERGY; index += 1) {
    energy += frame[index]! ** 2;
  }
  return energy >= SOUND_ENERGY;
}

function silence(frames: number): Int16Array[] {
  return frames > 0 ? [new Int16Array(frames * FRAME_SAMPLES)] : [];
}

/** In place, linear. */
function fade(frame: Int16Array | undefined, direction: 'in' | 'out'): void {
  frame?.forEach((sample, index) => {
    const gain = (direction === 'in' ? index : FRAME_SAMPLES - 1 - index) / FRAME_SAMPLES;
    frame[index] = Math.round(sample * gain);
  });
}
