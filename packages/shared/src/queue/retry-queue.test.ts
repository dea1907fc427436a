import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { until } from '@antiphon/testing/until';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { z } from 'zod';
import { openRedis, whenReady } from './redis.ts';
import { RetryQueue, RetryWorker } from './retry-queue.ts';

const schema = z.object({ value: z.number() });
type Data = z.output<typeof schema>;

let server: RedisServer;
let redis: ReturnType<typeof openRedis>;
let patient: ReturnType<typeof openRedis>;
let queue: RetryQueue<object>;
let workers: RetryWorker<Data>[];
/** What was told of failures: job, attempts, whether it was the last. */
let failures: [string, number, boolean][];

const onError = () => undefined;

beforeAll(async () => {
  server = await startRedis();
  redis = openRedis(server.url, { role: 'command', onError });
  patient = openRedis(server.url, { role: 'patient', onError });
  await whenReady(redis);
});
beforeEach(async () => {
  await redis.flushall();
  queue = new RetryQueue(redis, {
    ...{ name: 'things', attempts: 3, firstRetryMs: 1, keepDoneSeconds: 60, onError },
  });
  [workers, failures] = [[], []];
});
afterEach(async () => {
  await Promise.all(workers.map((worker) => worker.close()));
  await queue.close();
});
afterAll(async () => {
  redis.disconnect();
  patient.disconnect();
  await server.close();
});

function work(attempt: (data: Data, signal: AbortSignal) => Promise<void>): void {
  workers.push(
    new RetryWorker({
      ...{ name: 'things', redis: patient, schema, concurrency: 1, attempt, onError },
      ...{ lockDurationMs: 1000, stalledIntervalMs: 500 },
      onFailure: (_error, { jobId, attempts, over }) => failures.push([jobId, attempts, over]),
    }),
  );
}

it('tries until it is done, and then not again', async () => {
  const tried: number[] = [];
  work(async ({ value }) => {
    tried.push(value);
    if (tried.length < 3) throw new Error('not yet');
  });
  await queue.add('a', { value: 1 });
  await until(() => tried.length === 3);
  await queue.add('a', { value: 2 });
  await queue.add('b', { value: 3 });
  await until(() => tried.length === 4);
  expect(tried).toEqual([1, 1, 1, 3]);
  expect(failures).toEqual([
    ['a', 1, false],
    ['a', 2, false],
  ]);
});

it('gives up after its attempts, also on what it cannot read', async () => {
  const tried: unknown[] = [];
  work(async ({ value }) => {
    tried.push(value);
    throw new Error('never');
  });
  await queue.add('a', { value: 1 });
  await queue.add('b', { value: 'one' });
  await until(() => failures.filter(([, , over]) => over).length === 2);
  expect(tried).toEqual([1, 1, 1]);
  const given = new Map(failures.map(([jobId, attempts, over]) => [jobId, { attempts, over }]));
  expect(given.get('a')).toEqual({ attempts: 3, over: true });
  expect(given.get('b')).toEqual({ attempts: 3, over: true });
});

it('breaks off what runs when it is closed, and leaves it to another', async () => {
  const reasons: unknown[] = [];
  work(async (_data, signal) => {
    reasons.push('taken');
    await new Promise((_resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason as Error));
    });
  });
  await queue.add('a', { value: 1 });
  await until(() => reasons.length === 1);
  await workers[0]?.close();
  const tried: number[] = [];
  work(async ({ value }) => void tried.push(value));
  await until(() => tried.length === 1);
  expect(failures).toEqual([['a', 1, false]]);
});

it('does not take anything while Redis is away', async () => {
  const away = openRedis('redis://127.0.0.1:1', { role: 'command', onError });
  const other = new RetryQueue(away, {
    ...{ name: 'things', attempts: 1, firstRetryMs: 1, keepDoneSeconds: 1, onError },
  });
  await expect(other.add('a', {})).rejects.toMatchObject({ code: 'queue_unavailable' });
  away.disconnect();
});
