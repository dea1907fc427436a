import type { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { StreamLog } from '@antiphon/shared/streams/stream-log';

const TELL_AGAIN_MS = 500;
/** At a time: a second of them would hold up what clients ask of a Redis that is just back. */
const ENDS_PER_CALL = 100;
/** The oldest are forgotten beyond: no gateway has so many streams at once. */
const MOST_ENDS = 10_000;

interface UntoldEnd {
  error: VoiceError;
  afterPhrases: boolean;
}

/**
 * Ends that Redis did not take, while it was away or hung. Until it does, workers go on for nobody:
 * their streams are open, and the lease of this gateway is renewed as soon as Redis is back.
 */
export class UntoldEnds {
  readonly #log: StreamLog;
  readonly #ends = new Map<string, UntoldEnd>();
  #telling = false;
  #triedAtMs = -Infinity;

  constructor(log: StreamLog) {
    this.#log = log;
  }

  /** The first end of a stream is its end. */
  add(streamId: string, end: UntoldEnd): void {
    if (this.#ends.has(streamId)) return;
    const [oldest] = this.#ends.keys();
    if (this.#ends.size >= MOST_ENDS && oldest !== undefined) this.#ends.delete(oldest);
    this.#ends.set(streamId, end);
    this.#triedAtMs = performance.now();
  }

  /** Tells them again; may be called as often as one likes. Never rejects. */
  async tell(): Promise<void> {
    const isSoon = performance.now() - this.#triedAtMs < TELL_AGAIN_MS;
    if (this.#telling || this.#ends.size === 0 || isSoon) return;
    this.#telling = true;
    try {
      while (this.#ends.size > 0) await this.#tellSome();
    } catch {
      // Still away: the first of them was logged when it failed.
    } finally {
      this.#telling = false;
      this.#triedAtMs = performance.now();
    }
  }

  async #tellSome(): Promise<void> {
    const some = [...this.#ends].slice(0, ENDS_PER_CALL);
    await Promise.all(
      some.map(async ([streamId, { error, afterPhrases }]) => {
        await this.#log.finish(streamId, error, { afterPhrases });
        this.#ends.delete(streamId);
      }),
    );
  }
}
