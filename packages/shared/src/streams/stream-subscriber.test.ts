import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { until } from '@antiphon/testing/until';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type LogFixture, OPENING, openLogFixture, textDelta } from '../testing/log-fixture.ts';
import { publishControl, subscribeControl, type ControlMessage } from './control-channel.ts';
import { CONTROL_CHANNEL, logKey, stateKey, streamChannel, createStreamId } from './stream-key.ts';
import type { StreamLog } from './stream-log.ts';
import type { StreamSubscriber } from './stream-subscriber.ts';
import { defineStreamScripts, type ScriptedRedis } from './stream-scripts.ts';

let server: RedisServer;
let redis: ScriptedRedis;
let fixture: LogFixture;
let log: StreamLog;
let subscriber: StreamSubscriber;

const opening = { ...OPENING, maxLogBytes: 1e6 };

beforeAll(async () => {
  server = await startRedis();
  fixture = openLogFixture(server.url);
  ({ redis, log, subscriber } = fixture);
});
afterAll(async () => {
  fixture.close();
  await server.close();
});

it('hears nothing of other streams, and unsubscribes when the reader closes', async () => {
  const [one, other] = [await fixture.openProducer(opening), await fixture.openProducer(opening)];
  const reader = await subscriber.subscribe(one.streamId);
  await other.producer.append(textDelta('other'));
  await one.producer.append(textDelta('one'));
  const entries = await reader.next();
  expect(entries.map(({ event }) => event.type)).toEqual(['job-claim', 'text-delta']);
  reader.close();
  expect(subscriber.readerCount).toBe(0);
  const channel = streamChannel(one.streamId);
  await until(async () => !((await redis.pubsub('CHANNELS')) as string[]).includes(channel));
});

it('wakes a reader whose message was lost within about a second', async () => {
  const { streamId, producer } = await fixture.openProducer(opening);
  const reader = await subscriber.subscribe(streamId);
  await producer.append(textDelta('a'));
  await reader.next();
  // An entry without its message: what a dropped publish leaves behind.
  const { entries } = await log.read(streamId, 2, 1);
  const encoded = Buffer.from([1, 2, 0x62]);
  await redis.xadd(logKey(streamId), '3-0', 'f', '.', 'e', encoded);
  await redis.hset(stateKey(streamId), 'seq', 3);
  const [entry] = await reader.next();
  expect(entry).toMatchObject({ seq: 3, event: { type: 'text-delta' } });
  expect(entries).toHaveLength(1);
  reader.close();
});

it('subscribes again after Redis was killed, and reads what it missed', async () => {
  await redis.config('SET', 'appendfsync', 'always');
  const { streamId, producer } = await fixture.openProducer(opening);
  const reader = await subscriber.subscribe(streamId);
  await producer.append(textDelta('0,'));
  await server.kill();
  const writing = (async () => {
    for (let index = 1; index < 30; index += 1) await producer.append(textDelta(`${index},`));
    await producer.append({ type: 'text-end', finishReason: 'stop' }, { ends: 'stream' });
  })();
  await server.restart();
  let heard = '';
  for (let terminal = false; !terminal;) {
    for (const entry of await reader.next()) {
      terminal = entry.terminal;
      if (entry.event.type === 'text-delta') heard += entry.event.bytes.toString();
    }
  }
  await writing;
  expect(heard).toBe(Array.from({ length: 30 }, (_, index) => `${index},`).join(''));
  reader.close();
}, 30_000);

it('delivers control messages, and passes over what is none', async () => {
  const heard: ControlMessage[] = [];
  await subscribeControl(fixture.subscriberRedis, (message) => heard.push(message));
  await redis.publish(CONTROL_CHANNEL, '{not json');
  await redis.publish(CONTROL_CHANNEL, 'null');
  await publishControl(redis, { type: 'stream-end', streamId: 's1' });
  await until(() => heard.some(({ type }) => type === 'stream-end'));
  expect(heard.at(-1)).toEqual({ type: 'stream-end', streamId: 's1' });
});

it('gives ids that BullMQ takes, each once', () => {
  const ids = Array.from({ length: 100 }, () => createStreamId());
  expect(new Set(ids).size).toBe(100);
  for (const id of ids) expect(id).toMatch(/^s[0-9a-f]{32}$/);
});

it('keeps the keys of a stream in one slot of a cluster', () => {
  for (const key of [stateKey('s1'), logKey('s1'), streamChannel('s1')]) {
    expect(key).toContain('{s1}');
  }
});

it('defines scripts once, and Redis takes them by their hash after a flush', async () => {
  expect(defineStreamScripts(redis)).toBe(redis);
  await redis.script('FLUSH');
  const streamId = await log.open(opening);
  expect(await log.claim(streamId, 'chat', 'w1')).toMatchObject({ status: 'open', epoch: 1 });
});

it('gives one stream to several readers, each at its own pace, until the last one closes', async () => {
  const { streamId, producer } = await fixture.openProducer(opening);
  const [one, other] = [await subscriber.subscribe(streamId), await subscriber.subscribe(streamId)];
  one.catchUp();
  other.catchUp();
  const contentsOf = async (reader: typeof one) =>
    (await reader.next()).flatMap(({ event }) =>
      event.type === 'text-delta' ? [Buffer.from(event.bytes).toString()] : [],
    );
  expect([await contentsOf(one), await contentsOf(other)]).toEqual([[], []]); // the claim
  await producer.append(textDelta('a'));
  expect(await contentsOf(one)).toEqual(['a']);
  one.close();
  await producer.append(textDelta('b'));
  const seen: string[] = [];
  while (seen.length < 2) seen.push(...(await contentsOf(other)));
  expect(seen).toEqual(['a', 'b']);
  expect(subscriber.readerCount).toBe(1);
  other.close();
  await until(async () => {
    const counts = await redis.pubsub('NUMSUB', streamChannel(streamId));
    return counts[1] === 0;
  });
});
