import { expect, it } from 'vitest';
import { DecodeSlots } from './decode-slots.ts';

const NEVER = new AbortController().signal;

it('lets so many in, and the others in their order', async () => {
  const slots = new DecodeSlots(2);
  const [first, second] = [await slots.take(NEVER), await slots.take(NEVER)];
  const entered: number[] = [];
  const enter = (number: number) =>
    slots.take(NEVER).then((release) => {
      entered.push(number);
      return release;
    });
  const [third, fourth] = [enter(3), enter(4)];
  await Promise.resolve();
  expect(entered).toStrictEqual([]);
  first();
  (await third)();
  second();
  (await fourth)();
  expect(entered).toStrictEqual([3, 4]);
});

it('forgets who leaves', async () => {
  const slots = new DecodeSlots(1);
  const release = await slots.take(NEVER);
  const leaving = new AbortController();
  const gone = slots.take(leaving.signal);
  const next = slots.take(NEVER);
  leaving.abort('gone');
  await expect(gone).rejects.toBe('gone');
  await expect(slots.take(AbortSignal.abort('gone'))).rejects.toBe('gone');
  release();
  (await next)();
  (await slots.take(leaving.signal).catch(() => slots.take(NEVER)))();
});
