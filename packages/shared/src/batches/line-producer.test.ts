import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { Queue } from 'bullmq';
import type { BatchLineJob } from '../jobs/batch-line-job.ts';
import { openRedis, whenReady } from '../queue/redis.ts';
import type { ScriptedRedis } from '../streams/stream-scripts.ts';
import { createBatchId } from './batch-key.ts';
import { LineProducer } from './line-producer.ts';

const NAME = 'tts-test-batch';
const ignore = () => undefined;

let server: RedisServer;
let redis: ScriptedRedis;
let queue: Queue;
let producer: LineProducer;
let batchId: string;

beforeAll(async () => {
  server = await startRedis();
});
beforeEach(async () => {
  redis = openRedis(server.url, { role: 'command', onError: ignore });
  await whenReady(redis);
  await redis.flushall();
  queue = new Queue(NAME, { connection: redis, skipVersionCheck: true });
  queue.on('error', ignore);
  producer = new LineProducer(redis, ignore);
  batchId = createBatchId();
});
afterEach(async () => {
  await Promise.all([queue.close(), producer.close()]);
  redis.disconnect();
});
afterAll(() => server.close());

const lines = (...numbers: number[]): BatchLineJob[] =>
  numbers.map((line) => ({
    ...{ version: 1, batchId, line, tenantId: 'one', model: 'm' },
    work: {
      ...{ type: 'speech', phrases: [{ text: `line ${line}` }], voice: 'v', speed: 1 },
      ...{ format: 'mp3', expiresAtSeconds: 1 },
    },
  }));
const queued = async () =>
  (await queue.getWaiting()).map(({ data }) => (data as BatchLineJob).line);

it('lines are queued once', async () => {
  await producer.enqueue(NAME, lines(0, 1, 2));
  await producer.enqueue(NAME, lines(1, 2, 3));
  expect(await queued()).toEqual([0, 1, 2, 3]);
  const [job] = await queue.getWaiting(0, 0);
  expect(job?.opts).toMatchObject({ attempts: 3, removeOnComplete: true, removeOnFail: true });
});

it('tells which lines are there, of this batch and queue', async () => {
  await producer.enqueue(NAME, lines(1, 3));
  expect(await producer.queued(NAME, batchId, [0, 1, 2, 3])).toEqual(new Set([1, 3]));
  expect(await producer.queued(NAME, createBatchId(), [1, 3])).toEqual(new Set());
  expect(await producer.queued('tts-other-batch', batchId, [1, 3])).toEqual(new Set());
  const [job] = await queue.getWaiting();
  await job?.remove();
  expect(await producer.queued(NAME, batchId, [1, 3])).toHaveProperty('size', 1);
});

it('a Redis that has forgotten the scripts takes them all the same', async () => {
  await producer.enqueue(NAME, lines(0));
  await redis.script('FLUSH');
  await producer.enqueue(NAME, lines(1, 2));
  expect(await queued()).toEqual([0, 1, 2]);
});

it('a Redis that is away is told at once', async () => {
  await server.kill();
  await expect(producer.enqueue(NAME, lines(0))).rejects.toMatchObject({
    code: 'queue_unavailable',
  });
  await server.restart();
  await whenReady(redis);
  await producer.enqueue(NAME, lines(0));
  expect(await queued()).toEqual([0]);
});
