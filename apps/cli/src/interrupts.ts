/** One Ctrl-C arrives twice, from the terminal and from npm: repeats within this time are one. */
const REPEAT_MS = 1000;
/** What ends on a signal gets this long to leave files and connections in order. */
const LEAVE_WITHIN_MS = 2000;

export const INTERRUPTED_EXIT = 130;

/** Ctrl-C and the other ways in which this process is told to stop. */
export interface Interrupts {
  /** Aborted when the process is to end: SIGTERM, SIGHUP, a broken pipe, a second Ctrl-C. */
  readonly ended: AbortSignal;
  /** The code to exit with once `ended` is aborted. */
  readonly exitCode: number | undefined;
  /** From now on Ctrl-C calls this one alone, instead of ending the process; undone by what is returned. */
  listen(listener: () => void): () => void;
  /** A signal for one piece of work: aborted by Ctrl-C or by `ended`. A second Ctrl-C ends the process. */
  guard(): { signal: AbortSignal; release: () => void };
  /** A Ctrl-C that came as a key: line editing switches the signal off. */
  interrupt(): void;
  end(exitCode: number): void;
}

export function createInterrupts(): Interrupts {
  const listeners: (() => void)[] = [];
  const ended = new AbortController();
  let exitCode: number | undefined;
  let lastAtMs = -Infinity;

  const end = (code: number): void => {
    exitCode ??= code;
    ended.abort();
    setTimeout(() => process.exit(exitCode), LEAVE_WITHIN_MS).unref();
  };
  const interrupt = (): void => {
    const listener = listeners.at(-1);
    if (listener) listener();
    else process.exit(INTERRUPTED_EXIT);
  };
  const listen = (listener: () => void): (() => void) => {
    listeners.push(listener);
    return () => {
      const at = listeners.lastIndexOf(listener);
      if (at >= 0) listeners.splice(at, 1);
    };
  };
  process.on('SIGINT', () => {
    const sinceMs = performance.now() - lastAtMs;
    lastAtMs = performance.now();
    if (sinceMs > REPEAT_MS) interrupt();
  });
  process.on('SIGTERM', () => end(143));
  process.on('SIGHUP', () => end(129));

  return {
    ended: ended.signal,
    get exitCode() {
      return exitCode;
    },
    listen,
    guard() {
      const stopped = new AbortController();
      const release = listen(() => {
        if (stopped.signal.aborted) end(INTERRUPTED_EXIT);
        else stopped.abort();
      });
      return { signal: AbortSignal.any([stopped.signal, ended.signal]), release };
    },
    interrupt,
    end,
  };
}
