/**
 * Waits for `work`, but only so long: resolves with whether it has ended by then, well or not. For
 * the way out of a process, where a Redis that is away must not be waited for.
 */
export async function within(timeoutMs: number, work: Promise<unknown>): Promise<boolean> {
  const late = Promise.withResolvers<false>();
  const timer = setTimeout(() => late.resolve(false), timeoutMs);
  const ended = work.then(
    () => true,
    () => true,
  );
  try {
    return await Promise.race([ended, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
