import { readFile } from 'node:fs/promises';
import { until } from '@antiphon/testing/until';
import { expect, it } from 'vitest';
import { withEncoder } from './with-encoder.ts';

/** How many programs this process runs. */
async function children(): Promise<number> {
  const pids = await readFile(`/proc/self/task/${process.pid}/children`, 'utf8');
  return pids.split(' ').filter(Boolean).length;
}

it('runs no program for what is refused before it is wanted', async () => {
  const before = await children();
  const refused = withEncoder('aac', async () => {
    expect(await children()).toBe(before);
    throw new Error('refused');
  });
  await expect(refused).rejects.toThrow('refused');
  expect(await children()).toBe(before);
});

it('is one encoder however often it is started, and closed at the end', async () => {
  const before = await children();
  await withEncoder('aac', async (start) => {
    expect(await start()).toBe(await start());
    expect(await children()).toBe(before + 1);
  });
  await until(async () => (await children()) === before);
});
