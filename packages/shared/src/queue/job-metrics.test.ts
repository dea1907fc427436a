import { Registry } from 'prom-client';
import { expect, it } from 'vitest';
import { countJobs } from './job-metrics.ts';
import type { JobContext, JobHandler } from './job-worker.ts';

it('counts what runs and how it ended, and passes failures on', async () => {
  const registry = new Registry();
  const inside: number[] = [];
  const active = async () => {
    const text = await registry.metrics();
    return Number(/antiphon_jobs_active\{queue="llm-x"\} (\d+)/.exec(text)?.[1]);
  };
  const outcomes: JobHandler<'chat'>[] = [
    async () => void inside.push(await active()),
    async () => {
      throw new Error('engine');
    },
    async ({ signal }) => signal.throwIfAborted(),
  ];
  const handler = countJobs<'chat'>(registry, 'llm-x', async (context) => {
    await outcomes.shift()?.(context);
  });
  const context = (signal = new AbortController().signal) =>
    ({ signal }) as unknown as JobContext<'chat'>;
  await handler(context());
  await expect(handler(context())).rejects.toThrow('engine');
  await expect(handler(context(AbortSignal.abort(new Error('over'))))).rejects.toThrow('over');
  expect(inside).toEqual([1]);
  expect(await active()).toBe(0);
  const text = await registry.metrics();
  for (const result of ['done', 'failed', 'aborted'])
    expect(text).toContain(`antiphon_jobs_total{queue="llm-x",result="${result}"} 1`);
});
