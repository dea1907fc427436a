/** Lets one waiter wait for whatever happens next. A call that comes before it waits is kept. */
export class Wake {
  #called = false;
  #resume: (() => void) | undefined;

  readonly call = (): void => {
    this.#called = true;
    this.#resume?.();
  };

  /** Resolves at the next call, when the time is over, or when the signal is aborted. */
  async wait(timeoutMs: number, signal: AbortSignal): Promise<void> {
    if (!this.#called && !signal.aborted) {
      await new Promise<void>((resolve) => {
        const resume = () => {
          clearTimeout(timer);
          signal.removeEventListener('abort', resume); // it may live as long as the process
          resolve();
        };
        const timer = setTimeout(resume, timeoutMs);
        this.#resume = resume;
        signal.addEventListener('abort', resume, { once: true });
      });
    }
    this.#resume = undefined;
    this.#called = false;
  }
}
