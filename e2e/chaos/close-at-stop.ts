/** Told to stop, we take the stack down, its folders too, and end with 1: nothing was found out. */
export function closeAtStop(starting: Promise<{ close(): Promise<void> }>): void {
  let closing: Promise<void> | undefined;
  const stop = () => {
    // One Ctrl-C arrives twice, from the terminal and from npm.
    closing ??= starting
      .then((stack) => stack.close())
      .catch(() => undefined) // it did not come up, and closed itself
      .finally(() => process.exit(1));
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, stop);
}
