import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { until } from '@antiphon/testing/until';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { openRedis } from '../queue/redis.ts';
import { KeptStreams } from './kept-streams.ts';
import { KEPT_STREAMS_KEY, gatewayKey } from './stream-key.ts';
import type { ScriptedRedis } from './stream-scripts.ts';

let server: RedisServer;
let redis: ScriptedRedis;
let kept: KeptStreams;

beforeAll(async () => {
  server = await startRedis();
  redis = openRedis(server.url, { role: 'patient', onError: () => undefined });
  kept = new KeptStreams(redis);
});
afterEach(() => redis.flushall());
afterAll(async () => {
  redis.disconnect();
  await server.close();
});

it('gives nobody a stream whose keeper lives', async () => {
  await kept.keep(['s1', 's2']);
  expect(await kept.adopt()).toEqual([]);
  expect(await redis.exists(gatewayKey('s1'), gatewayKey('s2'))).toBe(2);
});

it('gives streams that were handed over to one gateway only, its leases untouched', async () => {
  await kept.keep(['s1', 's2', 's3']);
  await kept.handOver(['s1', 's3', 'unknown']);
  const [one, other] = await Promise.all([kept.adopt(), kept.adopt()]);
  expect([...one, ...other].toSorted()).toEqual(['s1', 's3']);
  expect(await redis.exists(gatewayKey('s1'))).toBe(1);
});

it('gives a stream whose keeper is silent while its lease still lives', async () => {
  await kept.keep(['s1']);
  const found = await until(
    async () => {
      const adopted = await kept.adopt();
      return adopted.length > 0 ? adopted : undefined;
    },
    { timeoutMs: 8000, intervalMs: 100 },
  );
  expect(found).toEqual(['s1']);
  expect(await redis.exists(gatewayKey('s1'))).toBe(1);
}, 30_000);

it('gives all streams of a gateway that kept many at once, and renews their leases', async () => {
  const streamIds = Array.from({ length: 250 }, (_, index) => `s${index}`);
  await kept.keep(streamIds);
  await kept.handOver(streamIds);
  await redis.del(...streamIds.map(gatewayKey));
  expect(new Set(await kept.adopt())).toEqual(new Set(streamIds));
  expect(await redis.exists(...streamIds.map(gatewayKey))).toBe(250);
});

it('forgets one that has ended', async () => {
  await kept.keep(['s1']);
  await kept.forget('s1');
  expect(await redis.exists(KEPT_STREAMS_KEY, gatewayKey('s1'))).toBe(0);
});

it('knows for a while that somebody was there', async () => {
  expect(await kept.hasPresence('s1')).toBe(false);
  await kept.notePresence('s1', 300);
  expect(await kept.hasPresence('s1')).toBe(true);
  await until(async () => !(await kept.hasPresence('s1')));
});
