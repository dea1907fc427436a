import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { OPEN_BATCHES_KEY } from './batch-key.ts';
import { KeptBatches } from './kept-batches.ts';

let server: RedisServer;
let redis: Redis;
let kept: KeptBatches;

beforeAll(async () => {
  server = await startRedis();
  redis = new Redis(server.url);
  kept = new KeptBatches(redis);
});
beforeEach(async () => {
  await redis.flushall();
});
afterAll(async () => {
  redis.disconnect();
  await server.close();
});

it('gives each batch that nobody keeps to one caller', async () => {
  await redis.zadd(OPEN_BATCHES_KEY, 0, 'a', 0, 'b', 0, 'c');
  const found = await Promise.all([kept.adopt(2), kept.adopt(2), kept.adopt(0)]);
  expect(found.map((batchIds) => batchIds.length)).toEqual([2, 1, 0]);
  expect(found.flat().toSorted()).toEqual(['a', 'b', 'c']);
  expect(await kept.adopt(9)).toEqual([]);
});

it('takes them from who was not seen for 5 s, and at once from who hands over', async () => {
  await kept.keep(['mine', 'dead', 'given', 'over']);
  await redis.zincrby(OPEN_BATCHES_KEY, -6000, 'dead');
  await redis.zincrby(OPEN_BATCHES_KEY, -3000, 'mine');
  await kept.handOver(['given', 'unknown']);
  await kept.forget('over');
  expect(await kept.countUnkept()).toBe(2);
  expect((await kept.adopt(9)).toSorted()).toEqual(['dead', 'given']);
  await redis.zincrby(OPEN_BATCHES_KEY, -3000, 'mine');
  await kept.keep(['mine']);
  expect(await kept.countUnkept()).toBe(0);
  expect(await kept.adopt(9)).toEqual([]);
});
