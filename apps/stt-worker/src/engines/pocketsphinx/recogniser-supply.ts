import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { Recogniser } from './recogniser.ts';

/**
 * Keeps one recogniser loaded for the next request, which saves it the 0.3 s that loading the
 * model takes (at the price of 100 MB in a waiting process, most of it shared with the others).
 */
export class RecogniserSupply {
  readonly #start: (options?: { background: boolean }) => Recogniser;
  readonly #used = new Set<Recogniser>();
  #spare: Recogniser | undefined;
  #closed = false;

  constructor(start: (options?: { background: boolean }) => Recogniser) {
    this.#start = start;
  }

  /** Starts loading the next one, if none waits. */
  warm(): void {
    if (!this.#closed && this.#spare?.running !== true) this.#spare = this.#start();
  }

  /**
   * A recogniser that nobody else feeds; give it back to `release`. One for the background is
   * loaded now: the spare one stays for who waits.
   */
  take({ background = false } = {}): Recogniser {
    if (this.#closed) throw new VoiceError('server_shutting_down');
    const recogniser = background ? this.#start({ background }) : this.#takeSpare();
    this.#used.add(recogniser);
    return recogniser;
  }

  #takeSpare(): Recogniser {
    const recogniser = this.#spare?.running ? this.#spare : this.#start();
    this.#spare = undefined;
    return recogniser;
  }

  /** Only now is the next one loaded, so that loading does not slow this recording down. */
  release(recogniser: Recogniser): void {
    this.#used.delete(recogniser);
    this.warm();
  }

  /** Kills all of them. */
  async close(): Promise<void> {
    this.#closed = true;
    const all = [...this.#used, ...(this.#spare === undefined ? [] : [this.#spare])];
    this.#spare = undefined;
    await Promise.all(all.map(async (recogniser) => recogniser.stop()));
  }
}
