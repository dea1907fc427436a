import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { PATIENCE, until } from '@antiphon/testing/until';
import { Registry } from 'prom-client';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { openRedis, whenReady } from '../queue/redis.ts';
import type { ScriptedRedis } from '../streams/stream-scripts.ts';
import { SpeechCache, type SpeechCacheOptions } from './speech-cache.ts';

const SIZES = 'antiphon:{speech-cache}:sizes';
const USES = 'antiphon:{speech-cache}:uses';
/** Besides the sound. */
const OVERHEAD = 512;

let server: RedisServer;
let redis: ScriptedRedis;
const connections: ScriptedRedis[] = [];
const failures: unknown[] = [];

async function connect(): Promise<ScriptedRedis> {
  const connection = openRedis(server.url, { role: 'patient', onError: () => undefined });
  connections.push(connection);
  await whenReady(connection);
  return connection;
}
beforeAll(async () => {
  server = await startRedis();
  redis = await connect();
});
beforeEach(async () => {
  await redis.flushall();
  failures.splice(0);
});
afterAll(async () => {
  for (const connection of connections) connection.disconnect();
  await server.close();
});

const cacheOver = (connection: ScriptedRedis, options: Partial<SpeechCacheOptions> = {}) =>
  new SpeechCache(connection, {
    ...{ maxBytes: 1_000_000, ttlMs: 60_000 },
    onFailure: (error) => failures.push(error),
    ...options,
  });
const cacheOf = (options?: Partial<SpeechCacheOptions>) => cacheOver(redis, options);
const sound = (bytes: number, fill = 1) => Buffer.alloc(bytes, fill);
const idOf = (number: number) => `id${number}`;
const total = async () => Number((await redis.hget(SIZES, 'total')) ?? 0);
/** Bytes of sound that are there. */
async function kept(): Promise<number> {
  const keys = (await redis.keys('antiphon:{speech-cache}:*')).filter(
    (key) => key !== SIZES && key !== USES,
  );
  const lengths = await Promise.all(keys.map((key) => redis.strlen(key)));
  return lengths.reduce((sum, length) => sum + length + OVERHEAD, 0);
}

it('gives back what was kept, byte for byte, and nothing else', async () => {
  const cache = cacheOf();
  const pcm = Buffer.from(Array.from({ length: 3000 }, (_, index) => (index * 7) % 256));
  expect(await cache.find('a')).toBeUndefined();
  expect(await cache.keep('a', pcm.subarray(10))).toBe(true);
  const found = await cache.find('a');
  expect(Buffer.from(found ?? []).equals(pcm.subarray(10))).toBe(true);
  expect(await cache.find('b')).toBeUndefined();
});

it('counts what it was asked for', async () => {
  const registry = new Registry();
  const cache = cacheOf({ registry });
  await cache.find('a');
  await cache.keep('a', sound(100));
  await cache.find('a');
  await cache.find('b');
  const lines = (await registry.metrics())
    .split('\n')
    .filter((line) => line.startsWith('antiphon'));
  expect(lines).toEqual([
    'antiphon_speech_cache_lookups_total{result="hit"} 1',
    'antiphon_speech_cache_lookups_total{result="miss"} 2',
    'antiphon_speech_cache_lookups_total{result="failed"} 0',
  ]);
});

it('keeps the first of two', async () => {
  const cache = cacheOf();
  await cache.keep('a', sound(100, 1));
  expect(await cache.keep('a', sound(200, 2))).toBe(false);
  expect(await cache.find('a')).toHaveLength(100);
  expect(await total()).toBe(100 + OVERHEAD);
});

it('keeps nothing that is empty, too long, or above the bound', async () => {
  expect(await cacheOf().keep('a', sound(0))).toBe(false);
  expect(await cacheOf({ maxBytes: 1e9 }).keep('a', sound(1_048_578))).toBe(false);
  expect(await cacheOf({ maxBytes: 10_000 }).keep('a', sound(9700))).toBe(false);
  expect(cacheOf({ maxBytes: 10_000 }).takes(9488)).toBe(true);
  expect(await redis.dbsize()).toBe(0);
});

it('lets go what was used least lately', async () => {
  const cache = cacheOf({ maxBytes: 4 * (1000 + OVERHEAD) });
  for (const number of [0, 1, 2, 3]) {
    await cache.keep(idOf(number), sound(1000));
    await untilNextMs();
  }
  await cache.find(idOf(0));
  await untilNextMs();
  await cache.keep(idOf(4), sound(1000));
  const found = await Promise.all([0, 1, 2, 3, 4].map((number) => cache.find(idOf(number))));
  expect(found.map((one) => one !== undefined)).toEqual([true, false, true, true, true]);
  expect(await total()).toBe(4 * (1000 + OVERHEAD));
});

it('makes room for a long one out of several', async () => {
  const cache = cacheOf({ maxBytes: 20_000 });
  for (let number = 0; number < 10; number += 1) await cache.keep(idOf(number), sound(1000));
  expect(await cache.keep('long', sound(15_000))).toBe(true);
  expect(await cache.find('long')).toHaveLength(15_000);
  expect(await total()).toBeLessThanOrEqual(20_000);
  expect(await kept()).toBe(await total());
});

it('stays within its bound under many workers at once', async () => {
  const maxBytes = 100_000;
  const workers = await Promise.all(
    Array.from({ length: 6 }, async () => cacheOver(await connect(), { maxBytes })),
  );
  let most = 0;
  const done = new AbortController();
  const looking = (async () => {
    while (!done.signal.aborted) most = Math.max(most, await total());
  })();
  await Promise.all(
    workers.map(async (cache, worker) => {
      for (let number = 0; number < 100; number += 1) {
        await cache.keep(idOf((worker * 37 + number) % 211), sound(1000 + ((number * 97) % 5000)));
        await cache.find(idOf(number));
      }
    }),
  );
  done.abort();
  await looking;
  expect(most).toBeGreaterThan(maxBytes / 2);
  expect(most).toBeLessThanOrEqual(maxBytes);
  expect(await kept()).toBe(await total());
  expect(await redis.zcard(USES)).toBe((await redis.hlen(SIZES)) - 1);
  expect(failures).toEqual([]);
});

it('forgets after its time, however often it was used, and counts it no more', async () => {
  const cache = cacheOf({ ttlMs: 200 });
  await cache.keep('a', sound(1000));
  await cache.keep('b', sound(1000));
  const startedAtMs = performance.now();
  await until(async () => (await cache.find('a')) === undefined, { intervalMs: 5 });
  expect(performance.now() - startedAtMs).toBeLessThan(2000 * PATIENCE);
  expect(await total()).toBe(1000 + OVERHEAD); // nobody has asked for b
  await until(async () => (await redis.exists('antiphon:{speech-cache}:b')) === 0);
  await until(async () => {
    await cache.keep('c', sound(500)); // takes b out of the lists once it is unused for so long
    return (await redis.zscore(USES, 'b')) === null;
  });
  expect(await total()).toBe(await kept());
});

it('leaves nothing behind once it is unused', async () => {
  const cache = cacheOf({ ttlMs: 50 });
  await cache.keep('a', sound(1000));
  expect(await redis.pttl(USES)).toBeGreaterThan(0);
  await until(async () => (await redis.dbsize()) === 0);
});

it('counts anew where its lists were lost in part', async () => {
  const cache = cacheOf({ maxBytes: 5000 });
  await cache.keep('a', sound(4000));
  await redis.del(USES);
  expect(await cache.keep('b', sound(4000))).toBe(true);
  expect(await total()).toBe(4000 + OVERHEAD);
});

it('in a Redis without memory keeps nothing, still finds, and says so once', async () => {
  const cache = cacheOf();
  await cache.keep('a', sound(100));
  await redis.config('SET', 'maxmemory', '1');
  try {
    expect(await cache.keep('b', sound(100))).toBe(false);
    expect(await cache.keep('c', sound(100))).toBe(false);
    expect(failures).toHaveLength(1);
    expect(await cache.find('a')).toHaveLength(100);
  } finally {
    await redis.config('SET', 'maxmemory', '0');
  }
  expect(await total()).toBe(await kept());
});

it('does not wait for a Redis that is away or silent', async () => {
  const own = await startRedis();
  const connection = openRedis(own.url, { role: 'patient', onError: () => undefined });
  await whenReady(connection);
  const registry = new Registry();
  const cache = cacheOver(connection, { registry });
  await cache.keep('a', sound(100));
  process.kill(own.pid, 'SIGSTOP');
  const startedAtMs = performance.now();
  expect(await cache.find('a')).toBeUndefined();
  expect(performance.now() - startedAtMs).toBeLessThan(1000 * PATIENCE);
  process.kill(own.pid, 'SIGCONT');
  await until(async () => (await cache.find('a')) !== undefined);
  await own.close();
  await until(() => connection.status !== 'ready');
  expect(await cache.find('a')).toBeUndefined();
  expect(await cache.keep('b', sound(100))).toBe(false);
  expect(await registry.metrics()).toMatch(/result="failed"} [1-9]/);
  connection.disconnect();
});

/** Uses are told apart by the ms of Redis' clock. */
async function untilNextMs(): Promise<void> {
  const clockMs = async () => {
    const [seconds, microseconds] = await redis.time();
    return Number(seconds) * 1000 + Math.floor(Number(microseconds) / 1000);
  };
  const startMs = await clockMs();
  await until(async () => (await clockMs()) > startMs, { intervalMs: 1 });
}
