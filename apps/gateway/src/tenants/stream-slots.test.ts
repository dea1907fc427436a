import { once } from 'node:events';
import { openRedis, whenReady } from '@antiphon/shared/queue/redis';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { until } from '@antiphon/testing/until';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { LimitStore } from './limit-store.ts';
import { StreamSlots } from './stream-slots.ts';

const LEASE_MS = 400;

const storeOf = (connection: typeof redis) => new LimitStore(connection, () => undefined);

let server: RedisServer;
let redis: ReturnType<typeof openRedis>;
const opened: StreamSlots[] = [];
beforeAll(async () => {
  server = await startRedis();
  redis = openRedis(server.url, { role: 'command', onError: () => undefined });
  await whenReady(redis);
});
afterEach(async () => {
  for (const slots of opened.splice(0)) slots.close();
  await redis.flushall();
});
afterAll(async () => {
  redis.disconnect();
  await server.close();
});

/** One gateway's. */
function open(leaseMs = LEASE_MS): StreamSlots {
  const slots = new StreamSlots(storeOf(redis), () => undefined, leaseMs);
  opened.push(slots);
  return slots;
}

it('gives a tenant no more than its places, over all gateways, however many ask at once', async () => {
  const [one, two] = [open(), open()];
  const asked = Array.from({ length: 50 }, (_, index) => index);
  const taken = await Promise.all(
    asked.map((index) => (index % 2 === 0 ? one : two).take('alice', `r${index}`, 7)),
  );
  expect(taken.filter(Boolean)).toHaveLength(7);
  expect(await open().take('bob', 'r1', 7)).toBe(true);
});

it('gives a place again that was freed, and frees none twice', async () => {
  const slots = open();
  expect(await slots.take('alice', 'a', 1)).toBe(true);
  expect(await slots.take('alice', 'b', 1)).toBe(false);
  slots.free('alice', 'b');
  expect(await slots.take('alice', 'b', 1)).toBe(false);
  slots.free('alice', 'a');
  expect(await slots.take('alice', 'b', 1)).toBe(true);
});

it('keeps its places beyond a lease, and those of a gateway that died are free after one', async () => {
  const [dead, alive] = [open(), open()];
  expect(await dead.take('alice', 'of-the-dead', 2)).toBe(true);
  expect(await alive.take('alice', 'a', 2)).toBe(true);
  expect(await alive.take('alice', 'b', 2)).toBe(false);
  dead.close(); // renews nothing any more, as a process that was killed
  await until(() => alive.take('alice', 'b', 2));
  const startedMs = performance.now();
  await until(() => performance.now() - startedMs > LEASE_MS * 2);
  expect(await alive.take('alice', 'c', 2)).toBe(false);
});

it('leaves nothing in Redis', async () => {
  const slots = open();
  expect(await slots.take('alice', 'a', 2)).toBe(true);
  slots.free('alice', 'a');
  await until(async () => (await redis.keys('*')).length === 0);
  await slots.take('alice', 'b', 2);
  slots.close();
  await until(async () => (await redis.keys('*')).length === 0);
});

it('counts for itself while Redis is away, and tells it when it is back', async () => {
  const own = await startRedis();
  const connection = openRedis(own.url, { role: 'command', onError: () => undefined });
  await whenReady(connection);
  const slots = new StreamSlots(storeOf(connection), () => undefined, LEASE_MS);
  expect(await slots.take('alice', 'a', 2)).toBe(true);
  connection.disconnect();
  await once(connection, 'end');
  expect(await slots.take('alice', 'b', 2)).toBe(true);
  expect(await slots.take('alice', 'c', 2)).toBe(false);
  await connection.connect();
  await until(async () => (await connection.zcard('antiphon:tenant:alice:slots')) === 2);
  slots.close();
  connection.disconnect();
  await own.close();
});
