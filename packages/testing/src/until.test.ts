import { expect, it } from 'vitest';
import { until } from './until.ts';

it('returns the first truthy value', async () => {
  let calls = 0;
  await expect(until(() => (++calls < 3 ? 0 : calls), { intervalMs: 1 })).resolves.toBe(3);
});

it('names what it waited for when the time is over', async () => {
  await expect(until(() => false, { timeoutMs: 1, what: 'the moon' })).rejects.toThrow(/the moon/);
});
