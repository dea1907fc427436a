import { once } from 'node:events';
import { openRedis, whenReady } from '@antiphon/shared/queue/redis';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { goDuration } from './limit-reached.ts';
import { LimitStore } from './limit-store.ts';
import { RateLimits } from './rate-limits.ts';

const storeOf = (connection: typeof redis) => new LimitStore(connection, () => undefined);

let server: RedisServer;
let redis: ReturnType<typeof openRedis>;
let other: ReturnType<typeof openRedis>;
beforeAll(async () => {
  server = await startRedis();
  [redis, other] = [0, 1].map(() =>
    openRedis(server.url, { role: 'command', onError: () => undefined }),
  ) as [typeof redis, typeof redis];
  await Promise.all([whenReady(redis), whenReady(other)]);
});
afterEach(async () => {
  await other.flushall();
});
afterAll(async () => {
  for (const connection of [redis, other]) connection.disconnect();
  await server.close();
});

it('counts a minute per tenant and unit, over all gateways', async () => {
  const [one, two] = [new RateLimits(storeOf(redis)), new RateLimits(storeOf(other))];
  await one.use('requests', 'alice', 1, 10);
  const usage = await two.use('requests', 'alice', 1, 10);
  expect(usage).toMatchObject({ limit: 10, used: 2 });
  expect(usage.resetMs).toBeGreaterThan(50_000);
  expect(usage.resetMs).toBeLessThanOrEqual(60_000);
  expect(await two.look('requests', 'alice', 10)).toMatchObject({ used: 2 });
  expect(await two.look('characters', 'alice', 10)).toMatchObject({ used: 0, resetMs: 0 });
  expect(await two.look('requests', 'bob', 10)).toMatchObject({ used: 0 });
});

it('gives back what would go over the limit, so that less may still be used', async () => {
  const rates = new RateLimits(storeOf(redis));
  await rates.spend('characters', 'alice', 90, 100);
  await expect(rates.spend('characters', 'alice', 11, 100)).rejects.toMatchObject({
    code: 'rate_limit_exceeded',
    message: expect.stringMatching(
      /^Rate limit reached for characters of speech per min\. Limit 100, Used 90, Requested 11\. Please try again in (1m0s|5\d\.?\d*s)\.$/,
    ) as string,
  });
  await rates.spend('characters', 'alice', 10, 100);
  await expect(rates.spend('characters', 'alice', 1, 100)).rejects.toMatchObject({
    code: 'rate_limit_exceeded',
  });
});

it('leaves keys that end with their minute', async () => {
  await new RateLimits(storeOf(redis)).use('audio-seconds', 'alice', 5, 10);
  const keys = await other.keys('*');
  expect(keys).toEqual(['antiphon:rate:audio-seconds:alice']);
  expect(await other.pttl(keys[0] ?? '')).toBeGreaterThan(0);
});

it('counts in memory while Redis is away, from nothing', async () => {
  const own = await startRedis();
  const connection = openRedis(own.url, { role: 'command', onError: () => undefined });
  await whenReady(connection);
  const rates = new RateLimits(storeOf(connection));
  await rates.use('requests', 'alice', 5, 10);
  connection.disconnect();
  await once(connection, 'end');
  expect(await rates.use('requests', 'alice', 1, 10)).toMatchObject({ used: 1 });
  expect(await rates.use('requests', 'alice', 1, 10)).toMatchObject({ used: 2 });
  expect(await rates.look('requests', 'alice', 10)).toMatchObject({ used: 2 });
  await connection.connect();
  expect(await rates.look('requests', 'alice', 10)).toMatchObject({ used: 5 });
  connection.disconnect();
  await own.close();
});

it.each([
  [0, '0ms'],
  [19.2, '20ms'],
  [1200, '1.2s'],
  [60_000, '1m0s'],
  [61_500, '1m1.5s'],
])('writes %d ms as %s', (milliseconds, written) => {
  expect(goDuration(milliseconds)).toBe(written);
});
