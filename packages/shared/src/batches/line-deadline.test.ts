import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { LineDeadline } from './line-deadline.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

it('ends once, after its time', () => {
  let ends = 0;
  const deadline = new LineDeadline(100, () => (ends += 1));
  vi.advanceTimersByTime(99);
  expect(ends).toBe(0);
  vi.advanceTimersByTime(1000);
  expect(ends).toBe(1);
  deadline.close();
});

it('does not count while it is halted, by however many', async () => {
  let ends = 0;
  const deadline = new LineDeadline(100, () => (ends += 1));
  vi.advanceTimersByTime(60);
  const [first, second] = [Promise.withResolvers<string>(), Promise.withResolvers<void>()];
  const halts = [deadline.halt(() => first.promise), deadline.halt(() => second.promise)] as const;
  vi.advanceTimersByTime(1000);
  first.resolve('result');
  expect(await halts[0]).toBe('result');
  vi.advanceTimersByTime(1000);
  second.reject(new Error('over'));
  await expect(halts[1]).rejects.toThrow('over');
  vi.advanceTimersByTime(39);
  expect(ends).toBe(0);
  vi.advanceTimersByTime(1);
  expect(ends).toBe(1);
});

it('never ends when it has no limit, or was closed', async () => {
  let ends = 0;
  const endless = new LineDeadline(Infinity, () => (ends += 1));
  await endless.halt(async () => undefined);
  const closed = new LineDeadline(100, () => (ends += 1));
  closed.close();
  await closed.halt(async () => undefined);
  vi.advanceTimersByTime(10_000);
  expect(ends).toBe(0);
});
