import { batchChannel } from '@antiphon/shared/batches/batch-key';
import { openRedis, whenReady } from '@antiphon/shared/queue/redis';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { until } from '@antiphon/testing/until';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { BatchSubscriber } from './batch-subscriber.ts';

let server: RedisServer;
let redis: Redis;
let connection: Redis;
let subscriber: BatchSubscriber;

beforeAll(async () => {
  server = await startRedis();
  redis = new Redis(server.url);
});
beforeEach(async () => {
  connection = openRedis(server.url, { role: 'subscriber', onError: () => undefined });
  await whenReady(connection);
  subscriber = new BatchSubscriber(connection);
});
afterEach(() => {
  subscriber.close();
  connection.disconnect();
});
afterAll(async () => {
  redis.disconnect();
  await server.close();
});

const tell = (batchId: string) => redis.publish(batchChannel(batchId), 'line');

/** Counts what is told of a batch, from when the subscription stands. */
async function listen(batchId: string) {
  const heard = { count: 0, stop: () => undefined as void };
  heard.stop = subscriber.subscribe(batchId, () => {
    heard.count += 1;
  });
  await until(() => heard.count === 1);
  return heard;
}

it('tells each listener of its own batch, until it stops', async () => {
  const [one, same, other] = [await listen('a'), await listen('a'), await listen('b')];
  await tell('a');
  await until(() => one.count === 2 && same.count === 2);
  expect(other.count).toBe(1);
  one.stop();
  one.stop();
  await tell('a');
  await until(() => same.count === 3);
  expect(one.count).toBe(2);
  expect(subscriber.batchCount).toBe(2);
  same.stop();
  other.stop();
  expect(subscriber.batchCount).toBe(0);
  await until(async () => (await redis.pubsub('CHANNELS', '*')).length === 0);
});

it('hears again what is subscribed again', async () => {
  const first = await listen('a');
  first.stop();
  const second = await listen('a');
  await tell('a');
  await until(() => second.count === 2);
  expect(first.count).toBe(1);
});

it('tells after a reconnect, and hears on', async () => {
  const heard = await listen('a');
  expect(await redis.call('CLIENT', 'KILL', 'TYPE', 'pubsub')).toBe(1);
  await until(() => heard.count >= 2);
  await until(async () => (await redis.pubsub('CHANNELS', '*')).length === 1);
  const { count } = heard;
  await tell('a');
  await until(() => heard.count > count);
});
