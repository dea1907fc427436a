/** Runs out once, after so many ms in which it was not halted. */
export class LineDeadline {
  readonly #onEnd: () => void;
  #leftMs: number;
  #startedMs = 0;
  #timer: NodeJS.Timeout | undefined;
  #halts = 0;

  /** `totalMs` may be `Infinity`. */
  constructor(totalMs: number, onEnd: () => void) {
    this.#leftMs = totalMs;
    this.#onEnd = onEnd;
    this.#go();
  }

  /** While `work` lasts, no time passes. */
  async halt<Result>(work: () => Promise<Result>): Promise<Result> {
    if (this.#halts === 0) this.#stop();
    this.#halts += 1;
    try {
      return await work();
    } finally {
      this.#halts -= 1;
      if (this.#halts === 0) this.#go();
    }
  }

  /** For good. */
  close(): void {
    this.#stop();
    this.#leftMs = Infinity;
  }

  #go(): void {
    if (this.#leftMs === Infinity) return;
    this.#startedMs = performance.now();
    this.#timer = setTimeout(this.#onEnd, this.#leftMs);
  }

  #stop(): void {
    clearTimeout(this.#timer);
    this.#leftMs = Math.max(0, this.#leftMs - (performance.now() - this.#startedMs));
  }
}
