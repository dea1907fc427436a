import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { Queue, Worker } from 'bullmq';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { queuePosition, readQueueCounts } from './queue-counts.ts';
import { openRedis, whenReady } from './redis.ts';

let server: RedisServer;
let redis: ReturnType<typeof openRedis>;
beforeAll(async () => {
  server = await startRedis();
  redis = openRedis(server.url, { role: 'patient', onError: () => undefined });
  await whenReady(redis);
});
afterAll(async () => {
  redis.disconnect();
  await server.close();
});

it('counts queues, and tells the place in which BullMQ takes a job', async () => {
  const queue = new Queue('llm-x', { connection: redis });
  await queue.add('job', {}, { jobId: 'later', priority: 5 });
  await queue.add('job', {}, { jobId: 'latest', priority: 9 });
  for (const jobId of ['first', 'second', 'third']) await queue.add('job', {}, { jobId });
  expect(await readQueueCounts(redis, ['llm-x', 'none'])).toEqual([
    { queueName: 'llm-x', waiting: 5, active: 0, failed: 0, added: 5 },
    { queueName: 'none', waiting: 0, active: 0, failed: 0, added: 0 },
  ]);
  const jobIds = ['first', 'second', 'third', 'later', 'latest'];
  expect(await Promise.all(jobIds.map((id) => queuePosition(redis, 'llm-x', id)))).toEqual([
    1, 2, 3, 4, 5,
  ]);
  expect(await queuePosition(redis, 'llm-x', 'unknown')).toBeUndefined();

  const worker = new Worker('llm-x', null, { connection: redis });
  const taken = [];
  for (const token of jobIds) taken.push((await worker.getNextJob(token, { block: false }))?.id);
  expect(taken).toEqual(jobIds);
  expect(await queuePosition(redis, 'llm-x', 'first')).toBeUndefined();
  expect(await readQueueCounts(redis, ['llm-x'])).toMatchObject([{ waiting: 0, active: 5 }]);
  await worker.close();
  await queue.close();
});
