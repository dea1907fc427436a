import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { PATIENCE, until } from '@antiphon/testing/until';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openRedis, whenReady } from '../queue/redis.ts';
import type { ScriptedRedis } from '../streams/stream-scripts.ts';
import { TranscriptStore } from './transcript-store.ts';

const KEEP_MS = 60_000;
const heard = { text: 'Grüße "world"\n', durationSeconds: 1.25 };

let server: RedisServer;
let redis: ScriptedRedis;
let store: TranscriptStore;
beforeAll(async () => {
  server = await startRedis();
  redis = openRedis(server.url, { role: 'command', onError: () => undefined });
  await whenReady(redis);
  store = new TranscriptStore(redis);
});
afterAll(async () => {
  redis.disconnect();
  await server.close();
});

const recording = { tenantId: 'default', model: 'm', sha256: 'ab'.repeat(32) };

it('a key stands for tenant, model and content', () => {
  const key = store.keyOf(recording);
  expect(key).toMatch(/^antiphon:transcript:default:[0-9a-f]{64}$/);
  const others = [{ tenantId: 'key-1' }, { model: 'n' }, { sha256: 'cd'.repeat(32) }];
  const keys = [key, ...others.map((other) => store.keyOf({ ...recording, ...other }))];
  expect(new Set(keys).size).toBe(4);
  expect(store.keyOf({ ...recording })).toBe(key);
});

it("no key is taken for another tenant's", () => {
  const key = store.keyOf({ ...recording, tenantId: 'a:b' });
  expect(store.isKeyOf('a:b', key)).toBe(true);
  expect(store.isKeyOf('a', key)).toBe(false);
  expect(store.isKeyOf('default', key)).toBe(false);
  expect(store.isKeyOf('a:b', `${key}0`)).toBe(false);
});

it('finds what was kept, in order, and what is found lives on', async () => {
  const [first, second] = ['1', '2'].map((model) => store.keyOf({ ...recording, model }));
  if (first === undefined || second === undefined) throw new Error('no keys');
  await store.keep(first, heard, 5000);
  expect(await redis.pttl(first)).toBeLessThanOrEqual(5000);
  expect(await store.find([second, first])).toEqual([undefined, heard]);
  expect(await redis.pttl(first)).toBeLessThanOrEqual(5000);
  expect(await store.find([second, first], KEEP_MS)).toEqual([undefined, heard]);
  expect(await redis.pttl(first)).toBeGreaterThan(5000);
  expect(await store.find([], KEEP_MS)).toEqual([]);
});

it('forgets', async () => {
  const key = store.keyOf({ ...recording, model: 'forgotten' });
  await store.keep(key, heard, 20);
  await until(async () => (await redis.exists(key)) === 0);
  expect(await store.find([key], KEEP_MS)).toEqual([undefined]);
});

it.each(['', 'text', 'null', '{"text":1,"durationSeconds":1}', '{"text":"x"}'])(
  'what another version wrote is not found: %s',
  async (value) => {
    const key = store.keyOf({ ...recording, model: 'shape' });
    await redis.set(key, value);
    expect(await store.find([key], KEEP_MS)).toEqual([undefined]);
  },
);

it('tells a full Redis from one that is away', async () => {
  const key = store.keyOf({ ...recording, model: 'fault' });
  await redis.config('SET', 'maxmemory', '1');
  await expect(store.keep(key, heard, KEEP_MS)).rejects.toMatchObject({ code: 'storage_full' });
  await redis.config('SET', 'maxmemory', '0');
  await server.kill();
  const startedMs = performance.now();
  const away = { code: 'queue_unavailable', retryAfterSeconds: 1 };
  await expect(store.find([key], KEEP_MS)).rejects.toMatchObject(away);
  await expect(store.keep(key, heard, KEEP_MS)).rejects.toMatchObject(away);
  expect(performance.now() - startedMs).toBeLessThan(1000 * PATIENCE);
  await server.restart();
});
