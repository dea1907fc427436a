import { SAMPLE_RATE_HZ } from '@antiphon/shared/audio/audio-format';

/** Less is a network's jitter, which every player's buffer covers. */
const GAP_MS = 20;

/**
 * A listener who plays everything as it arrives: when sound comes later than what came before it
 * lasts, he hears a gap.
 */
export class PlaybackClock {
  gapCount = 0;
  gapMs = 0;
  /** When all that was sent so far will have been heard; `performance.now()`. */
  #heardAtMs: number | undefined;

  /** So many samples went to the client now. */
  sent(samples: number, nowMs = performance.now()): void {
    const lateMs = this.#heardAtMs === undefined ? 0 : nowMs - this.#heardAtMs;
    if (lateMs > GAP_MS) {
      this.gapCount += 1;
      this.gapMs += lateMs;
    }
    const fromMs = this.#heardAtMs === undefined || lateMs > GAP_MS ? nowMs : this.#heardAtMs;
    this.#heardAtMs = fromMs + (samples * 1000) / SAMPLE_RATE_HZ;
  }
}
