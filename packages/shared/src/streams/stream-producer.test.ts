import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { until } from '@antiphon/testing/until';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { VoiceError } from '../errors/voice-error.ts';
import { openRedis } from '../queue/redis.ts';
import {
  type LogFixture,
  OPENING,
  TEXT_END,
  openLogFixture,
  textDelta,
} from '../testing/log-fixture.ts';
import { stateKey } from './stream-key.ts';
import type { StreamLog } from './stream-log.ts';
import { StreamClosed } from './stream-producer.ts';
import type { StreamSubscriber } from './stream-subscriber.ts';
import type { ScriptedRedis } from './stream-scripts.ts';

let server: RedisServer;
let redis: ScriptedRedis;
let fixture: LogFixture;
let log: StreamLog;
let subscriber: StreamSubscriber;

const ignore = () => undefined;

beforeAll(async () => {
  server = await startRedis(['--appendfsync', 'always']);
  fixture = openLogFixture(server.url);
  ({ redis, log, subscriber } = fixture);
});
afterAll(async () => {
  fixture.close();
  await server.close();
});

it('ends its wait for a slow reader with the reason of its signal', async () => {
  const { streamId, producer } = await fixture.openProducer({ maxLogBytes: 200 });
  await producer.append(textDelta('x'.repeat(90)));
  const stopped = new AbortController();
  const waiting = producer.append(textDelta('y'.repeat(150)), { signal: stopped.signal });
  const reason = new VoiceError('server_shutting_down');
  stopped.abort(reason);
  await expect(waiting).rejects.toBe(reason);
  expect((await log.read(streamId, 1, 10)).lastSeq).toBe(2);
});

it('writes nothing when its signal has aborted before', async () => {
  const { streamId, producer } = await fixture.openProducer();
  const signal = AbortSignal.abort(new VoiceError('stream_cancelled'));
  await expect(producer.append(textDelta('x'), { signal })).rejects.toMatchObject({
    code: 'stream_cancelled',
  });
  expect((await log.read(streamId, 1, 10)).lastSeq).toBe(1);
});

it('ends its wait when the stream is stopped meanwhile', async () => {
  const { streamId, producer } = await fixture.openProducer({ maxLogBytes: 200 });
  await producer.append(textDelta('x'.repeat(90)));
  const waiting = producer.append(textDelta('y'.repeat(150)));
  await log.finish(streamId, new VoiceError('stream_cancelled'));
  await expect(waiting).rejects.toThrow(StreamClosed);
});

it('writes an end although the reader is slow', async () => {
  const { producer, streamId } = await fixture.openProducer({ maxLogBytes: 60 });
  await producer.append(textDelta('x'.repeat(49)));
  await producer.append(TEXT_END, { ends: 'stream' });
  expect((await log.state(streamId))?.['status']).toBe('done');
});

it('writes each entry once although the connection breaks while they are written', async () => {
  const { streamId, producer } = await fixture.openProducer({ maxLogBytes: 1e6 });
  const killer = openRedis(server.url, { role: 'command', onError: ignore });
  await until(() => killer.status === 'ready');
  let killed = 0;
  for (let index = 0; index < 200; index += 1) {
    const id = await redis.client('ID');
    const appended = producer.append(textDelta(`${index},`));
    if (index % 50 === 25) {
      killed += Number(await killer.client('KILL', 'ID', id));
    }
    await appended;
  }
  await producer.append(TEXT_END, { ends: 'stream' });
  killer.disconnect();
  const { entries } = await log.read(streamId, 1, 1000);
  const texts = entries.flatMap(({ event }) =>
    event.type === 'text-delta' ? [event.bytes.toString()] : [],
  );
  expect(killed).toBe(4);
  expect(texts.join('')).toBe(Array.from({ length: 200 }, (_, index) => `${index},`).join(''));
}, 20_000);

it('says that the storage is full, and its reader hears it', async () => {
  const { streamId, producer } = await fixture.openProducer({ maxLogBytes: 1e6 });
  const reader = await subscriber.subscribe(streamId);
  await producer.append(textDelta('before'));
  await redis.config('SET', 'maxmemory', '1');
  try {
    await expect(producer.append(textDelta('x'))).rejects.toMatchObject({ code: 'storage_full' });
    await expect(log.claim(streamId, 'chat', 'w2')).rejects.toMatchObject({ code: 'storage_full' });
    expect(
      await log.finish(streamId, new VoiceError('internal_error'), { tenantId: 'other' }),
    ).toBe('gone');
    expect(await log.finish(streamId, new VoiceError('internal_error'))).toBe('error');
    await until(() => reader.sawEnd);
    await expect(reader.next()).rejects.toMatchObject({ code: 'storage_full' });
    expect(await redis.exists(stateKey(streamId))).toBe(0);
  } finally {
    await redis.config('SET', 'maxmemory', '0');
  }
  await expect(producer.append(textDelta('x'))).rejects.toMatchObject({ reason: 'gone' });
  reader.close();
});

it('does not end a finished stream when the storage is full', async () => {
  const { streamId, producer } = await fixture.openProducer();
  await producer.append(TEXT_END, { ends: 'stream' });
  await redis.config('SET', 'maxmemory', '1');
  try {
    expect(await log.finish(streamId, new VoiceError('internal_error'))).toBe('done');
  } finally {
    await redis.config('SET', 'maxmemory', '0');
  }
});

it('counts phrases that failed among those that ended', async () => {
  const streamId = await log.open({ ...OPENING, kind: 'speech', phraseCount: 2 });
  const error = new VoiceError('engine_failed').serialize();
  const ends = [
    { type: 'phrase-error' as const, phraseIndex: 0, error },
    { type: 'audio-end' as const, phraseIndex: 1 },
  ];
  for (const event of ends) {
    const name = `phrase-${event.phraseIndex}`;
    const claim = await log.claim(streamId, name, 'w1');
    await log.producer(streamId, name, claim).append(event, { ends: 'phrase' });
  }
  expect(await log.state(streamId)).toMatchObject({ status: 'done', ended: '2', failed: '1' });
});

it('counts phrases that came from the cache', async () => {
  const streamId = await log.open({ ...OPENING, kind: 'speech', phraseCount: 2 });
  for (const phraseIndex of [0, 1]) {
    const name = `phrase-${phraseIndex}`;
    const claim = await log.claim(streamId, name, 'w1');
    await log
      .producer(streamId, name, claim)
      .append(
        { type: 'audio-end', phraseIndex, ...(phraseIndex === 1 ? { cached: true } : {}) },
        { ends: 'phrase' },
      );
  }
  expect(await log.state(streamId)).toMatchObject({ status: 'done', ended: '2', cached: '1' });
});
