import { openRedis, whenReady } from '@antiphon/shared/queue/redis';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { type TcpProxy, startTcpProxy } from '@antiphon/testing/tcp-proxy';
import { PATIENCE, until } from '@antiphon/testing/until';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { LimitStore } from './limit-store.ts';
import { RateLimits } from './rate-limits.ts';
import { StreamSlots } from './stream-slots.ts';

let server: RedisServer;
let proxy: TcpProxy;
let redis: ReturnType<typeof openRedis>;
let direct: ReturnType<typeof openRedis>;
let store: LimitStore;
let slots: StreamSlots;
let faults: Error[];

beforeAll(async () => {
  server = await startRedis();
  proxy = await startTcpProxy(Number(new URL(server.url).port));
  direct = openRedis(server.url, { role: 'command', onError: () => undefined });
  await whenReady(direct);
});
beforeEach(async () => {
  const url = new URL(server.url);
  url.port = String(proxy.port);
  faults = [];
  redis = openRedis(url.href, { role: 'command', onError: () => undefined });
  await whenReady(redis);
  store = new LimitStore(redis, (error) => faults.push(error));
  slots = new StreamSlots(store, () => undefined);
});
afterEach(async () => {
  proxy.setMode({ type: 'pass' });
  slots.close();
  redis.disconnect();
  await direct.flushall();
});
afterAll(async () => {
  direct.disconnect();
  await proxy.close();
  await server.close();
});

const tookMs = async (work: () => Promise<unknown>): Promise<number> => {
  const startedMs = performance.now();
  await work();
  return performance.now() - startedMs;
};
/** What a request with every kind of limit asks, one after the other. */
const askAll = async (rates: RateLimits) => {
  await rates.use('requests', 'alice', 1, 10);
  await rates.look('characters', 'alice', 10);
  await slots.take('alice', 'a', 2);
};

it('a Redis that hangs holds nobody up for long, and is counted for until it answers', async () => {
  const rates = new RateLimits(store);
  expect(await rates.use('requests', 'alice', 5, 10)).toMatchObject({ used: 5 });
  expect(await slots.take('alice', 'of-before', 2)).toBe(true);

  proxy.setMode({ type: 'blackhole' });
  expect(await tookMs(() => askAll(rates))).toBeLessThan(500 * PATIENCE);
  expect(await rates.look('requests', 'alice', 10)).toMatchObject({ used: 1 });
  expect(await slots.take('alice', 'b', 2)).toBe(false); // by what this gateway holds itself
  expect(await slots.take('bob', 'b', 1)).toBe(true);
  expect(faults.map(({ message }) => message)).toEqual([
    'Redis does not answer: this gateway counts limits by itself',
  ]);

  proxy.setMode({ type: 'pass' });
  await until(async () => (await rates.look('requests', 'alice', 10)).used >= 5);
  expect(faults).toHaveLength(1);
});

it('while Redis is silent it is asked for nothing', async () => {
  const rates = new RateLimits(store);
  await rates.use('requests', 'alice', 1, 10);
  proxy.setMode({ type: 'blackhole' });
  await rates.use('requests', 'alice', 1, 10);
  for (let count = 0; count < 20; count += 1) await rates.use('requests', 'bob', 1, 10);
  proxy.setMode({ type: 'pass' });
  await until(
    async () =>
      (await rates.use('requests', 'carol', 1, 10)) &&
      (await direct.exists('antiphon:rate:requests:carol')) === 1,
  );
  expect(await direct.get('antiphon:rate:requests:alice')).toBe('2'); // which it took, and was late
  expect(await direct.exists('antiphon:rate:requests:bob')).toBe(0);
});

it('a pause of this process is not taken for a silence of Redis', async () => {
  // Without the proxy, which would pause as well.
  const rates = new RateLimits(new LimitStore(direct, (error) => faults.push(error)));
  await rates.use('requests', 'alice', 1, 10);
  const used = rates.use('requests', 'alice', 1, 10);
  const untilMs = performance.now() + 600;
  while (performance.now() < untilMs); // as a large body or a collection of garbage
  expect(await used).toMatchObject({ used: 2 });
  expect(faults).toEqual([]);
});

it('stops listening when its connection is closed', async () => {
  proxy.setMode({ type: 'blackhole' });
  await expect(store.ask(() => redis.ping())).rejects.toThrow('Redis is silent');
  redis.disconnect();
  proxy.setMode({ type: 'pass' });
  // It asks again, and hears that the connection is closed.
  await until(() =>
    store
      .ask(() => redis.ping())
      .then(
        () => false,
        (error: Error) => error.message !== 'Redis is silent',
      ),
  );
});
