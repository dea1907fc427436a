/** What `answerWithin` gives instead of an answer when the time is over. */
export const LATE = Symbol('late');

/**
 * The answer of `work`, or LATE when there is none by then; rejects as `work` does. A process that
 * was paused finds its time over and the answer in the socket, which is read after the timers: that
 * one counts.
 */
export async function answerWithin<Answer>(
  timeoutMs: number,
  work: Promise<Answer>,
): Promise<Answer | typeof LATE> {
  const late = Promise.withResolvers<typeof LATE>();
  const timer = setTimeout(() => {
    setImmediate(() => late.resolve(LATE));
  }, timeoutMs);
  try {
    return await Promise.race([work, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Waits for `work`, but only so long: resolves with whether it has ended by then, well or not. For
 * the way out of a process, where a Redis that is away must not be waited for.
 */
export async function within(timeoutMs: number, work: Promise<unknown>): Promise<boolean> {
  const ended = work.then(
    () => true,
    () => true,
  );
  return (await answerWithin(timeoutMs, ended)) === true;
}
