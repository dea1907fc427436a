import { openRedis } from '@antiphon/shared/queue/redis';
import { HEARTBEAT_MS, LIVE_MS, WorkerHeartbeat } from '@antiphon/shared/queue/worker-registry';
import { createLogger } from '@antiphon/shared/runtime/logger';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { Deadlines } from '@antiphon/shared/jobs/job-catalog';
import type { StreamEntry } from '@antiphon/shared/streams/stream-event';
import { redisNowMs } from '@antiphon/shared/streams/redis-clock';
import { WORKERS_KEY } from '@antiphon/shared/streams/stream-key';
import { StreamLog } from '@antiphon/shared/streams/stream-log';
import type { StreamProducer } from '@antiphon/shared/streams/stream-producer';
import type { ScriptedRedis } from '@antiphon/shared/streams/stream-scripts';
import { StreamSubscriber } from '@antiphon/shared/streams/stream-subscriber';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { until } from '@antiphon/testing/until';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WorkerDirectory } from '../models/worker-directory.ts';
import { StreamWatch } from './stream-watch.ts';
import { type StreamRoute, WatchedStream } from './watched-stream.ts';

const RECLAIM_MS = 400;
const FOREVER: Deadlines = {
  queueMs: Infinity,
  firstEventMs: Infinity,
  idleMs: Infinity,
  totalMs: Infinity,
};
const ignore = () => undefined;

let server: RedisServer;
let redis: ScriptedRedis;
let subscriberRedis: ScriptedRedis;
let log: StreamLog;
let subscriber: StreamSubscriber;
let directory: WorkerDirectory;
let watch: StreamWatch;

beforeAll(async () => {
  server = await startRedis();
  redis = openRedis(server.url, { role: 'patient', onError: ignore });
  subscriberRedis = openRedis(server.url, { role: 'subscriber', onError: ignore });
  log = new StreamLog(redis);
  subscriber = new StreamSubscriber(subscriberRedis, log);
  directory = new WorkerDirectory(redis, { aliases: [], defaults: {}, onError: ignore });
  await directory.start();
  const logger = createLogger('gateway', 'fatal');
  watch = new StreamWatch({ log, directory, logger, reclaimMs: RECLAIM_MS });
});
afterAll(async () => {
  watch.close();
  directory.close();
  subscriber.close();
  redis.disconnect();
  subscriberRedis.disconnect();
  await server.close();
});

const open = (deadlines: Partial<Deadlines>, workerId = 'w1', queueName = 'llm-test') =>
  openRoute(
    { queues: { llm: queueName, stt: 'stt-test', tts: 'tts-test' }, firstStage: 'llm' },
    deadlines,
    workerId,
  );

async function openRoute(route: StreamRoute, deadlines: Partial<Deadlines>, workerId = 'w1') {
  const streamId = await log.open({
    tenantId: 'default',
    gatewayId: 'g1',
    kind: 'chat',
    model: 'm',
    queueName: 'q',
    maxLogBytes: 1e6,
    ttlMs: 60_000,
    logTtlMs: 30_000,
  });
  const reader = await subscriber.subscribe(streamId);
  const watched = new WatchedStream(reader, { ...FOREVER, ...deadlines }, route);
  watch.add(watched);
  const claim = async (producer = 'chat') =>
    log.producer(streamId, producer, await log.claim(streamId, producer, workerId));
  /** Delivers what there is in the log, in however many pieces it comes; at least one. */
  const deliver = async (): Promise<StreamEntry[]> => {
    const lastSeq = Number((await log.state(streamId))?.['seq']);
    const delivered: StreamEntry[] = [];
    do {
      const entries = await reader.next();
      for (const entry of entries) watched.note(entry);
      delivered.push(...entries);
    } while (!delivered.at(-1)?.terminal && (delivered.at(-1)?.seq ?? 0) < lastSeq);
    return delivered;
  };
  /** Delivers until the end; its error's code. */
  const ended = async (): Promise<string | undefined> => {
    for (;;) {
      const last = (await deliver()).at(-1);
      if (!last?.terminal) continue;
      watch.delete(watched);
      reader.close();
      return last.event.type === 'stream-error' ? last.event.error.code : undefined;
    }
  };
  return { streamId, reader, watched, claim, deliver, ended };
}
const text = { type: 'text-delta' as const, bytes: Buffer.from('x') };

/** A worker in the registry, and a way to let it die as by SIGKILL. */
async function announce(workerId: string, queueName = 'llm-demo') {
  const heartbeat = new WorkerHeartbeat(
    redis,
    () => ({
      ...{ version: 1, workerId, stage: 'llm', engine: 'demo', queueName },
      ...{ models: ['m'], concurrency: 1, startedAtSeconds: 1 },
    }),
    ignore,
  );
  await heartbeat.start();
  await directory.refresh();
  return {
    die: async () => {
      await heartbeat.leave();
      await directory.refresh();
    },
  };
}

describe('a deadline', () => {
  it('queue: nobody took the job', async () => {
    const { ended } = await open({ queueMs: 200 });
    expect(await ended()).toBe('server_is_overloaded');
  });

  it('first event: the worker is silent', async () => {
    const { ended, claim } = await open({ queueMs: 200, firstEventMs: 300 });
    await claim();
    expect(await ended()).toBe('first_event_timeout');
  });

  it('idle: the answer stopped', async () => {
    const { ended, claim } = await open({ queueMs: 200, firstEventMs: 300, idleMs: 400 });
    await (await claim()).append(text);
    expect(await ended()).toBe('stream_idle_timeout');
  });

  it('total: whatever happens', async () => {
    const { ended, claim } = await open({ totalMs: 300 });
    await (await claim()).append(text);
    expect(await ended()).toBe('stream_timeout');
  });

  it('does not fire while entries wait for a slow client, nor after the end', async () => {
    const stream = await open({ queueMs: 200, firstEventMs: 200, idleMs: 200 });
    const other = await open({ queueMs: 800 });
    const producer = await stream.claim();
    await producer.append(text);
    await until(() => stream.reader.producedSeq === 2);
    // The other stream's end shows that the time of this one is long over.
    expect(await other.ended()).toBe('server_is_overloaded');
    expect((await log.state(stream.streamId))?.['status']).toBe('open');
    await producer.append({ type: 'text-end', finishReason: 'stop' }, { ends: 'stream' });
    expect(await stream.ended()).toBeUndefined();
  });
});

it('ends a waiting stream when the last worker of its queue is gone, before the queue deadline', async () => {
  const worker = await announce('llm-last', 'llm-gone');
  const { ended } = await open({ queueMs: 60_000 }, 'llm-last', 'llm-gone');
  await worker.die();
  expect(await ended()).toBe('server_is_overloaded');
});

describe('a worker that died', () => {
  it('with output: its chat ends at once', async () => {
    const worker = await announce('llm-output');
    const { ended, claim, deliver } = await open({}, 'llm-output');
    await (await claim()).append(text);
    await deliver();
    await worker.die();
    expect(await ended()).toBe('stream_interrupted');
  });

  it('says the registry alone: its chat goes on while it was heard of just now', async () => {
    const worker = await announce('llm-unheard');
    const { claim, deliver, streamId, reader, watched } = await open({}, 'llm-unheard');
    watch.delete(watched);
    const logger = createLogger('gateway', 'fatal');
    const patient = new StreamWatch({ log, directory, logger, reclaimMs: 60_000 });
    patient.add(watched);
    await (await claim()).append(text);
    await deliver();
    await worker.die();
    const diedMs = performance.now();
    expect(directory.isAlive('llm-unheard')).toBe(false);
    await until(async () => (await log.state(streamId))?.['status'] !== 'open');
    // 3 s, less what passed between its last word and its death.
    expect(performance.now() - diedMs).toBeGreaterThan(2000);
    patient.close();
    reader.close();
  });

  it('without output: its stream ends when nobody takes the job over', async () => {
    const worker = await announce('llm-silent');
    const { ended, claim, deliver } = await open({}, 'llm-silent');
    await claim();
    await deliver();
    const diedMs = performance.now();
    await worker.die();
    expect(await ended()).toBe('stream_interrupted');
    expect(performance.now() - diedMs).toBeGreaterThan(RECLAIM_MS);
  });

  it('without output: another one goes on unseen', async () => {
    const [worker, heir] = [await announce('llm-first'), await announce('llm-heir')];
    const { ended, claim, deliver, streamId } = await open({}, 'llm-first');
    await claim();
    await deliver();
    await worker.die();
    const producer = log.producer(streamId, 'chat', await log.claim(streamId, 'chat', 'llm-heir'));
    await producer.append(text);
    await deliver();
    const later = await open({ queueMs: RECLAIM_MS * 2 });
    expect(await later.ended()).toBe('server_is_overloaded');
    await producer.append({ type: 'text-end', finishReason: 'stop' }, { ends: 'stream' });
    expect(await ended()).toBeUndefined();
    await heir.die();
  });

  it('after its phrase had ended, undelivered yet: nothing happens', async () => {
    const worker = await announce('tts-left');
    const { claim, deliver, streamId, reader, watched } = await open({}, 'tts-left');
    const producer = await claim('phrase-0');
    await deliver();
    await producer.append({ type: 'audio-end', phraseIndex: 0 }, { ends: 'phrase' });
    await until(() => reader.producedSeq === 2);
    await worker.die();
    const later = await open({ queueMs: RECLAIM_MS * 2 });
    expect(await later.ended()).toBe('server_is_overloaded');
    expect((await log.state(streamId))?.['status']).toBe('open');
    await deliver();
    expect(watched.producers.get('phrase-0')?.ended).toBe(true);
    watch.delete(watched);
    reader.close();
  });

  it('is not taken for dead before its first heartbeat', async () => {
    const { claim, deliver, streamId, watched, reader } = await open({}, 'llm-new');
    await (await claim()).append(text);
    await deliver();
    const later = await open({ queueMs: RECLAIM_MS * 2 });
    expect(await later.ended()).toBe('server_is_overloaded');
    expect((await log.state(streamId))?.['status']).toBe('open');
    watch.delete(watched);
    reader.close();
  });
});

/** What a chat-handler appends for each phrase. */
const cut = (producer: StreamProducer, phraseIndex: number) =>
  producer.append(
    { type: 'phrase-start', phraseIndex, text: 'Hello.', before: '' },
    { phrase: { phraseIndex, body: { text: 'Hello.' } } },
  );

describe('an answer that is spoken', () => {
  it('whose first phrase nobody takes: the queue deadline, counted from that phrase', async () => {
    const { ended, claim, deliver } = await open({ queueMs: 400 });
    const producer = await claim();
    await deliver();
    // Without a phrase there is no such wait, however long the model thinks.
    const earlier = await open({ queueMs: 600 });
    expect(await earlier.ended()).toBe('server_is_overloaded');
    const cutAtMs = performance.now();
    await cut(producer, 0);
    expect(await ended()).toBe('server_is_overloaded');
    expect(performance.now() - cutAtMs).toBeGreaterThan(400);
  });

  it('whose first phrase is taken waits for no queue any more', async () => {
    const { claim, deliver, streamId, watched, reader } = await open({ queueMs: 300 });
    const producer = await claim();
    await cut(producer, 0);
    await claim('phrase-0');
    await cut(producer, 1);
    await until(() => reader.producedSeq === 4);
    await deliver();
    const later = await open({ queueMs: 600 });
    expect(await later.ended()).toBe('server_is_overloaded');
    expect((await log.state(streamId))?.['status']).toBe('open');
    watch.delete(watched);
    reader.close();
  });

  it('with nobody left who speaks: at once', async () => {
    const worker = await announce('tts-last', 'tts-gone');
    const { ended, claim, deliver } = await openRoute(
      { queues: { llm: 'llm-test', tts: 'tts-gone' }, firstStage: 'llm' },
      { queueMs: 60_000 },
    );
    const producer = await claim();
    await deliver();
    await worker.die();
    await cut(producer, 0);
    expect(await ended()).toBe('server_is_overloaded');
  });

  it('with nobody left who speaks its later phrases: when none came back in time', async () => {
    const worker = await announce('tts-late', 'tts-late-gone');
    const { ended, claim, deliver } = await openRoute(
      { queues: { llm: 'llm-test', tts: 'tts-late-gone' }, firstStage: 'llm' },
      { queueMs: 60_000 },
    );
    const producer = await claim();
    await cut(producer, 0);
    const voice = await claim('phrase-0');
    await voice.append({ type: 'audio-end', phraseIndex: 0 }, { ends: 'phrase' });
    await cut(producer, 1);
    await deliver();
    const goneMs = performance.now();
    await worker.die();
    expect(await ended()).toBe('server_is_overloaded');
    expect(performance.now() - goneMs).toBeGreaterThan(RECLAIM_MS);
  });

  it('whose llm-worker died: the phrases that are cut are spoken, then the error', async () => {
    const [llm, tts] = [await announce('llm-broken'), await announce('tts-alive', 'tts-test')];
    const { ended, claim, deliver, streamId } = await open({}, 'llm-broken');
    const producer = await claim();
    await cut(producer, 0);
    await cut(producer, 1);
    await deliver();
    await llm.die();
    await until(async () => (await log.state(streamId))?.['failure'] !== undefined);
    for (const phraseIndex of [0, 1]) {
      expect((await log.state(streamId))?.['status']).toBe('open');
      const name = `phrase-${phraseIndex}`;
      const speech = log.producer(streamId, name, await log.claim(streamId, name, 'tts-alive'));
      await speech.append({ type: 'audio-end', phraseIndex }, { ends: 'phrase' });
    }
    expect(await ended()).toBe('stream_interrupted');
    await tts.die();
  });

  it('whose llm-worker died when all was spoken that was cut: at once', async () => {
    const worker = await announce('llm-empty');
    const { ended, claim, deliver } = await open({}, 'llm-empty');
    await (await claim()).append({ type: 'message-delta', delta: { content: 'x' } });
    await deliver();
    await worker.die();
    expect(await ended()).toBe('stream_interrupted');
  });

  it('whose llm-worker leaves after the end of its text: nothing happens', async () => {
    const worker = await announce('llm-done');
    const { ended, claim, deliver, streamId } = await open({}, 'llm-done');
    const producer = await claim();
    await cut(producer, 0);
    await producer.append(
      { type: 'text-end', finishReason: 'stop', phraseCount: 1 },
      { ends: 'text', phraseCount: 1 },
    );
    const speech = log.producer(streamId, 'phrase-0', await log.claim(streamId, 'phrase-0', 'w2'));
    await deliver();
    await worker.die();
    const later = await open({ queueMs: RECLAIM_MS * 2 });
    expect(await later.ended()).toBe('server_is_overloaded');
    expect(await log.state(streamId)).toMatchObject({ status: 'open' });
    await speech.append({ type: 'audio-end', phraseIndex: 0 }, { ends: 'phrase' });
    expect(await ended()).toBeUndefined();
  });

  it('whose tts-worker died, with no other one to take the phrase', async () => {
    const worker = await announce('tts-broken', 'tts-test');
    const { ended, claim, deliver, streamId } = await open({});
    await cut(await claim(), 0);
    await log.claim(streamId, 'phrase-0', 'tts-broken');
    await deliver();
    const diedMs = performance.now();
    await worker.die();
    expect(await ended()).toBe('stream_interrupted');
    expect(performance.now() - diedMs).toBeGreaterThan(RECLAIM_MS);
  });
});

describe('recordings in a chat', () => {
  const route: StreamRoute = {
    queues: { llm: 'llm-test', stt: 'stt-test' },
    firstStage: 'stt',
    recordingCount: 2,
  };
  const hear = async (
    claim: (producer?: string) => Promise<StreamProducer>,
    partIndex: number,
  ): Promise<void> => {
    await (
      await claim(`transcription-${partIndex}`)
    ).append(
      { type: 'transcript-end', language: 'en', durationSeconds: 1, partIndex },
      { ends: 'producer' },
    );
  };

  it('that nobody takes: the queue deadline', async () => {
    const { ended } = await openRoute(route, { queueMs: 200 });
    expect(await ended()).toBe('server_is_overloaded');
  });

  it('have no first-event and no idle deadline: their worker knows how long they are', async () => {
    const { claim, deliver, streamId, watched, reader } = await openRoute(route, {
      ...{ queueMs: 300, firstEventMs: 200, idleMs: 200 },
    });
    await hear(claim, 1);
    await claim('transcription-0');
    await until(() => reader.producedSeq === 3);
    await deliver();
    const later = await open({ queueMs: 800 });
    expect(await later.ended()).toBe('server_is_overloaded');
    expect((await log.state(streamId))?.['status']).toBe('open');
    expect(watched).toMatchObject({ isListening: true, heardAtMs: undefined });
    watch.delete(watched);
    reader.close();
  });

  it('once all are heard: the deadlines of the model, from then on', async () => {
    const { claim, ended, deliver, watched } = await openRoute(route, { queueMs: 500 });
    await hear(claim, 0);
    await deliver();
    const earlier = await open({ queueMs: 700 });
    expect(await earlier.ended()).toBe('server_is_overloaded');
    const heardAtMs = performance.now();
    await hear(claim, 1);
    await deliver();
    expect(await ended()).toBe('server_is_overloaded');
    expect(performance.now() - heardAtMs).toBeGreaterThan(500);
    expect(watched).toMatchObject({ isListening: false, claimedAtMs: undefined });
    expect(watched.heardAtMs).toBeGreaterThan(heardAtMs);
  });

  it('and then a silent model: the first-event deadline', async () => {
    const { claim, ended } = await openRoute(route, { queueMs: 300, firstEventMs: 400 });
    for (const partIndex of [0, 1]) await hear(claim, partIndex);
    await claim();
    expect(await ended()).toBe('first_event_timeout');
  });
});

it('fails the reader when the stream is no longer known', async () => {
  const { reader, watched, streamId } = await open({});
  await redis.del(`antiphon:{${streamId}}:state`);
  await watch.end(watched, new VoiceError('stream_timeout'));
  await expect(reader.next()).rejects.toMatchObject({ code: 'stream_timeout' });
  watch.delete(watched);
  reader.close();
});

it('calls onSecond about once a second', async () => {
  const { watched, reader } = await open({});
  let calls = 0;
  watched.onSecond = () => {
    calls += 1;
  };
  await until(() => calls === 2);
  watch.delete(watched);
  reader.close();
  expect(calls).toBe(2);
});

describe('the directory', () => {
  it('takes nobody for dead just after Redis was away', async () => {
    const own = await startRedis();
    const connection = openRedis(own.url, { role: 'command', onError: ignore });
    await until(() => connection.status === 'ready');
    const faults: Error[] = [];
    const onError = (error: Error) => void faults.push(error);
    const picture = new WorkerDirectory(connection, { aliases: [], defaults: {}, onError });
    const heartbeat = new WorkerHeartbeat(
      connection,
      () => ({
        ...{ version: 1, workerId: 'w', stage: 'llm', engine: 'demo', queueName: 'llm-demo' },
        ...{ models: ['m'], concurrency: 1, startedAtSeconds: 1 },
      }),
      ignore,
    );
    await heartbeat.start();
    await heartbeat.leave(); // no more beats
    await connection.zadd(WORKERS_KEY, await redisNowMs(connection), 'w');
    await picture.refresh();
    expect(picture.isAlive('w')).toBe(true);
    await connection.zadd(WORKERS_KEY, (await redisNowMs(connection)) - LIVE_MS, 'w');
    await connection.config('SET', 'appendfsync', 'always');
    await own.kill();
    await until(() => connection.status !== 'ready');
    await picture.refresh();
    expect(faults).toHaveLength(1);
    await own.restart();
    await until(() => connection.status === 'ready');
    await picture.refresh();
    expect(picture.isAlive('w')).toBeUndefined();
    await until(
      async () => {
        await picture.refresh();
        return picture.isAlive('w') === false;
      },
      { timeoutMs: HEARTBEAT_MS * 3, intervalMs: 100 },
    );
    picture.close();
    connection.disconnect();
    await own.close();
  }, 30_000);
});
