import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openRedis } from '../queue/redis.ts';
import { IdempotencyKeys } from './idempotency.ts';
import type { ScriptedRedis } from './stream-scripts.ts';

let server: RedisServer;
let redis: ScriptedRedis;
let keys: IdempotencyKeys;

beforeAll(async () => {
  server = await startRedis();
  redis = openRedis(server.url, { role: 'patient', onError: () => undefined });
  keys = new IdempotencyKeys(redis);
});
afterAll(async () => {
  redis.disconnect();
  await server.close();
});

const of = (key: string, tenantId = 'a') => ({ tenantId, key });
const claimOf = (streamId: string, bodyHash = 'h1') => ({ streamId, bodyHash });

it('has one owner, however many ask at once', async () => {
  const claims = await Promise.all(
    Array.from({ length: 50 }, (_, index) =>
      keys.claim(of('race'), claimOf(`s${index}`, `h${index}`), 60_000),
    ),
  );
  expect(new Set(claims.map(({ streamId }) => streamId)).size).toBe(1);
  expect(new Set(claims.map(({ bodyHash }) => bodyHash)).size).toBe(1);
});

it('is another key for another tenant', async () => {
  expect(await keys.claim(of('k'), claimOf('s1'), 60_000)).toEqual(claimOf('s1'));
  expect(await keys.claim(of('k', 'b'), claimOf('s2'), 60_000)).toEqual(claimOf('s2'));
  expect(await keys.claim(of('k'), claimOf('s3'), 60_000)).toEqual(claimOf('s1'));
});

it('is freed by the stream it stands for, and by no other', async () => {
  await keys.claim(of('free'), claimOf('s1'), 60_000);
  await keys.free(of('free'), 's2');
  expect(await keys.claim(of('free'), claimOf('s3'), 60_000)).toEqual(claimOf('s1'));
  await keys.free(of('free'), 's1');
  expect(await keys.claim(of('free'), claimOf('s3'), 60_000)).toEqual(claimOf('s3'));
});

const lifeMs = async () => {
  const names = await redis.keys('antiphon:idempotency:life:*');
  return redis.pttl(names[0] ?? '');
};

it('lives while its stream is prepared, and then as long as the log', async () => {
  const key = of('order', 'life');
  await keys.claim(key, claimOf('s1'), 10_000);
  await keys.renew(key, 's1', 60_000);
  expect(await lifeMs()).toBeGreaterThan(10_000);
  await keys.renew(key, 's2', 900_000);
  expect(await lifeMs()).toBeLessThanOrEqual(60_000);
  expect(await keys.hold(key, 's1', 900_000)).toBe(true);
  expect(await keys.claim(key, claimOf('s3'), 1)).toEqual({ ...claimOf('s1'), isOpen: true });
  await keys.renew(key, 's1', 10_000); // late
  expect(await lifeMs()).toBeGreaterThan(60_000);
  expect(await keys.hold(key, 's1', 60_000)).toBe(true); // it has ended
  expect(await lifeMs()).toBeLessThanOrEqual(60_000);
});

it('is not held by a stream that it does not stand for', async () => {
  expect(await keys.hold(of('nobody'), 's1', 60_000)).toBe(false);
  await keys.claim(of('other'), claimOf('s1'), 60_000);
  expect(await keys.hold(of('other'), 's2', 60_000)).toBe(false);
  expect(await keys.claim(of('other'), claimOf('s3'), 60_000)).toEqual(claimOf('s1'));
});

it('shows nobody what the client sent', async () => {
  await keys.claim(of('secret order'), claimOf('s1'), 60_000);
  const names = await redis.keys('antiphon:idempotency:a:*');
  expect(names.join()).not.toContain('secret');
});
