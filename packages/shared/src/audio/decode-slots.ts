import { availableParallelism } from 'node:os';

/** So many at once, in the order in which they came. */
export class DecodeSlots {
  readonly #waiting: (() => void)[] = [];
  #free: number;

  constructor(count: number) {
    this.#free = count;
  }

  /** Resolves with what gives the slot back; rejects with `signal.reason`. */
  async take(signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted();
    if (this.#free > 0) this.#free -= 1;
    else await this.#wait(signal);
    return () => this.#giveBack();
  }

  #wait(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const next = () => {
        signal.removeEventListener('abort', leave);
        resolve();
      };
      const leave = () => {
        this.#waiting.splice(this.#waiting.indexOf(next), 1);
        reject(signal.reason as Error);
      };
      this.#waiting.push(next);
      signal.addEventListener('abort', leave, { once: true });
    });
  }

  #giveBack(): void {
    const next = this.#waiting.shift();
    if (next) next();
    else this.#free += 1;
  }
}

/** Of this process. More decoders than cores only take the time of each other, and memory. */
export const decodeSlots = new DecodeSlots(availableParallelism());

/**
 * Of what nobody waits for: its engine is slow to take the sound, since it gives way to all else,
 * and would keep a place for minutes that an upload needs now.
 */
export const backgroundDecodeSlots = new DecodeSlots(availableParallelism());
