export interface EngineShareOptions {
  /** Jobs that the engine runs at once. */
  concurrency: number;
  /** Of these, lines of batches at most; left out: all. */
  batchConcurrency?: number | undefined;
  /** `BATCH_SHARE_PERCENT`: how much of it lines of batches may use, 1 to 100. */
  sharePercent: number;
}

/**
 * What lines of batches may use of one engine. Jobs that people wait for never wait here: they enter
 * at once, and while they fill the engine no line gets a turn.
 */
export class EngineShare {
  /** Turns of batches at the same time. */
  readonly batchLimit: number;
  readonly #concurrency: number;
  readonly #waiting = new Set<() => void>();
  #interactiveCount = 0;
  #batchCount = 0;

  constructor({ concurrency, batchConcurrency = concurrency, sharePercent }: EngineShareOptions) {
    this.#concurrency = concurrency;
    const share = Math.floor((concurrency * sharePercent) / 100);
    this.batchLimit = Math.max(1, Math.min(share, batchConcurrency));
  }

  /** Runs a job that somebody waits for. */
  async interactive<Result>(work: () => Promise<Result>): Promise<Result> {
    this.#interactiveCount += 1;
    try {
      return await work();
    } finally {
      this.#interactiveCount -= 1;
      this.#wake();
    }
  }

  /**
   * For one use of the engine by a batch: resolves, in the order of the calls, when there is room,
   * with a function to be called after it (again does no harm). Rejects with the signal's reason.
   */
  async takeTurn(signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted();
    if (this.#waiting.size > 0 || !this.#hasRoom()) await this.#wait(signal);
    else this.#batchCount += 1;
    let taken = true;
    return () => {
      if (!taken) return;
      taken = false;
      this.#batchCount -= 1;
      this.#wake();
    };
  }

  #hasRoom(): boolean {
    return (
      this.#batchCount < this.batchLimit &&
      this.#interactiveCount + this.#batchCount < this.#concurrency
    );
  }

  /** The turn is counted before the waiter runs again, so that nobody takes it in between. */
  async #wait(signal: AbortSignal): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const leave = (): void => {
        this.#waiting.delete(start);
        reject(signal.reason as Error);
      };
      const start = (): void => {
        signal.removeEventListener('abort', leave);
        this.#batchCount += 1;
        resolve();
      };
      signal.addEventListener('abort', leave, { once: true });
      this.#waiting.add(start);
    });
  }

  #wake(): void {
    for (const start of this.#waiting) {
      if (!this.#hasRoom()) return;
      this.#waiting.delete(start);
      start();
    }
  }
}
