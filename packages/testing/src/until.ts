import { setTimeout as delay } from 'node:timers/promises';

/** Factor on every upper bound in time: CI machines are slow and noisy (`TEST_PATIENCE`, default 3). */
export const PATIENCE = Number(process.env['TEST_PATIENCE'] ?? 3);

export interface UntilOptions {
  /** Before patience is applied; 5 s unless told. */
  timeoutMs?: number;
  intervalMs?: number;
  /** What was waited for, for the error. */
  what?: string;
}

/** Resolves with the first truthy value of `condition`; rejects when the time is over. */
export async function until<T>(
  condition: () => T | Promise<T>,
  { timeoutMs = 5000, intervalMs = 10, what = condition.toString() }: UntilOptions = {},
): Promise<NonNullable<T>> {
  const deadlineMs = performance.now() + timeoutMs * PATIENCE;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (performance.now() > deadlineMs) {
      throw new Error(`Not within ${timeoutMs * PATIENCE} ms: ${what}`);
    }
    await delay(intervalMs);
  }
}
