import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { until } from '@antiphon/testing/until';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openRedis, whenReady } from '../queue/redis.ts';
import type { ScriptedRedis } from '../streams/stream-scripts.ts';
import { SpokenAnswerStore } from './spoken-answer-store.ts';

const TTL_MS = 60_000;

let server: RedisServer;
let redis: ScriptedRedis;
let store: SpokenAnswerStore;
beforeAll(async () => {
  server = await startRedis();
  redis = openRedis(server.url, { role: 'command', onError: () => undefined });
  await whenReady(redis);
  store = new SpokenAnswerStore(redis);
});
afterAll(async () => {
  redis.disconnect();
  await server.close();
});

it('finds what was kept, in order, an empty answer too', async () => {
  await store.keep('default', 'audio_1', 'one\n```js\n1\n```', TTL_MS);
  await store.keep('default', 'audio_2', '', TTL_MS);
  expect(await store.find('default', ['audio_2', 'audio_3', 'audio_1'])).toEqual([
    '',
    undefined,
    'one\n```js\n1\n```',
  ]);
  expect(await store.find('default', [])).toEqual([]);
});

it("finds nothing of another tenant's", async () => {
  await store.keep('a', 'audio_1', 'of a', TTL_MS);
  await store.keep('a:b', 'audio_1', 'of a:b', TTL_MS);
  expect(await store.find('b', ['audio_1'])).toEqual([undefined]);
  expect(await store.find('a', ['b:audio_1', '', 'audio_1 ', 'x'.repeat(200)])).toEqual(
    Array.from({ length: 4 }),
  );
});

it('forgets when the time is over', async () => {
  await store.keep('default', 'audio_4', 'short', 20);
  await until(async () => (await redis.keys('*audio_4')).length === 0);
  expect(await store.find('default', ['audio_4'])).toEqual([undefined]);
});

it('tells a full Redis from one that is away', async () => {
  await redis.config('SET', 'maxmemory', '1');
  const keep = () => store.keep('default', 'audio_5', 'x', TTL_MS);
  await expect(keep()).rejects.toMatchObject({ code: 'storage_full' });
  await redis.config('SET', 'maxmemory', '0');
  await server.kill();
  await expect(keep()).rejects.toMatchObject({ code: 'queue_unavailable' });
  const find = store.find('default', ['audio_5']);
  await expect(find).rejects.toMatchObject({ code: 'queue_unavailable' });
  await server.restart();
});
