const REPEAT_MS = 1000;
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/**
 * Calls `stop` at the first SIGINT, SIGTERM or SIGHUP and `kill` at a later one. Repeats within 1 s
 * are the same wish: one Ctrl-C arrives twice, from the terminal and from npm.
 */
export function onStopSignals(stop: () => void, kill: () => void): void {
  let firstAtMs: number | undefined;
  const handle = () => {
    if (firstAtMs === undefined) {
      firstAtMs = performance.now();
      stop();
    } else if (performance.now() - firstAtMs > REPEAT_MS) {
      kill();
    }
  };
  for (const signal of SIGNALS) process.on(signal, handle);
}
