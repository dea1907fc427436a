import { expect, it } from 'vitest';
import { within } from './within.ts';

it('waits for what ends, however it ends', async () => {
  expect(await within(60_000, Promise.resolve())).toBe(true);
  expect(await within(60_000, Promise.reject(new Error('away')))).toBe(true);
});

it('does not wait for what does not', async () => {
  const never = Promise.withResolvers<void>();
  expect(await within(1, never.promise)).toBe(false);
});
