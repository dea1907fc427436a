import { openRedis, whenReady } from '@antiphon/shared/queue/redis';
import { gatewayKey } from '@antiphon/shared/streams/stream-key';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { until } from '@antiphon/testing/until';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { GatewayLease } from './gateway-lease.ts';

let server: RedisServer;
let redis: ReturnType<typeof openRedis>;
const key = gatewayKey('g1');

beforeAll(async () => {
  server = await startRedis();
  redis = openRedis(server.url, { role: 'command', onError: () => undefined });
  await whenReady(redis);
});
afterAll(async () => {
  redis.disconnect();
  await server.close();
});

it('is there from start to release, ends by itself, and comes back with Redis', async () => {
  const faults: Error[] = [];
  const lease = new GatewayLease(redis, 'g1', (error) => void faults.push(error));
  await lease.start();
  const ttlMs = await redis.pttl(key);
  expect(ttlMs).toBeGreaterThan(5000);
  expect(ttlMs).toBeLessThanOrEqual(8000);
  const startedAt = await redis.get(key);
  await until(async () => (await redis.get(key)) !== startedAt); // renewed

  await redis.del(key); // as if it had run out while Redis was away
  const backMs = performance.now();
  redis.disconnect(true);
  await until(() => redis.status !== 'ready');
  await until(async () => redis.status === 'ready' && (await redis.exists(key)) === 1);
  expect(performance.now() - backMs).toBeLessThan(1500 * Number(process.env['TEST_PATIENCE'] ?? 3));

  await lease.release();
  expect(await redis.exists(key)).toBe(0);
}, 20_000);
