import { BROKEN_PROMISE } from '@antiphon/testing/invariant';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { untilAtRest } from './at-rest.ts';

const ID = `s${'a'.repeat(32)}`;
const JOB = `bull:llm-openai:${ID}`;

let server: RedisServer;
let redis: Redis;

beforeAll(async () => {
  server = await startRedis();
  redis = new Redis(server.url);
});
beforeEach(() => redis.flushall());
afterAll(async () => {
  redis?.disconnect();
  await server?.close();
});

const rest = () =>
  untilAtRest({ redis, upstreams: [], processes: [], ended: new Set(), waitMs: 50 });

it('is at rest with what each queue keeps, and with logs that ended and expire', async () => {
  await redis.hset(JOB, 'data', '{}');
  await redis.zadd('bull:llm-openai:failed', 1, ID);
  await redis.hset('bull:llm-openai:meta', 'opts.maxLenEvents', '10000');
  await redis.hset(`antiphon:{${ID}}:state`, 'status', 'done');
  await redis.xadd(`antiphon:{${ID}}:log`, '7-0', 'e', '!');
  for (const part of ['state', 'log']) await redis.expire(`antiphon:{${ID}}:${part}`, 60);
  await expect(rest()).resolves.toBeUndefined();
});

it('sees a job that has leaked', async () => {
  await redis.hset(JOB, 'data', '{"messages": []}');
  await expect(rest()).rejects.toThrow(JOB);
});

it('sees a stream that nobody ended', async () => {
  await redis.hset(`antiphon:{${ID}}:state`, 'status', 'open');
  await redis.expire(`antiphon:{${ID}}:state`, 60);
  await expect(rest()).rejects.toThrow(`open stream: ${ID}`);
});

it('takes a hole in a log for a broken promise', async () => {
  await redis.hset(`antiphon:{${ID}}:state`, 'status', 'done');
  await redis.xadd(`antiphon:{${ID}}:log`, '7-0', 'e', '.');
  await redis.xadd(`antiphon:{${ID}}:log`, '9-0', 'e', '!');
  for (const part of ['state', 'log']) await redis.expire(`antiphon:{${ID}}:${part}`, 60);
  await expect(rest()).rejects.toThrow(BROKEN_PROMISE);
});
