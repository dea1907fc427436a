import { type RedisServer, freePort, startRedis } from '@antiphon/testing/redis';
import { until } from '@antiphon/testing/until';
import { Worker } from 'bullmq';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { ChatJob } from '../jobs/job-catalog.ts';
import { StreamLog } from '../streams/stream-log.ts';
import type { ScriptedRedis } from '../streams/stream-scripts.ts';
import { JobProducer } from './job-producer.ts';
import { releasePhrases } from './phrase-release.ts';
import { openRedis, whenReady } from './redis.ts';

let server: RedisServer;
let redis: ScriptedRedis;
let log: StreamLog;
let jobs: JobProducer;
let queueName: string;
let queues = 0;

const ignore = () => undefined;

beforeAll(async () => {
  server = await startRedis();
  redis = openRedis(server.url, { role: 'patient', onError: ignore });
  log = new StreamLog(redis);
  jobs = new JobProducer(redis, ignore);
});
beforeEach(() => {
  queues += 1;
  queueName = `tts-test${queues}`;
});
afterAll(async () => {
  await jobs.close();
  redis.disconnect();
  await server.close();
});

async function openSpeech(phraseCount: number, parallelPhrases = 2): Promise<string> {
  const streamId = await log.open({
    ...{
      tenantId: 'default',
      gatewayId: 'g1',
      kind: 'speech',
      model: 'm',
      queueName: 'q',
      maxLogBytes: 1e6,
    },
    ...{ ttlMs: 60_000, logTtlMs: 30_000, phraseCount, parallelPhrases, aheadSamples: 1e6 },
    speech: JSON.stringify({
      queueName,
      job: { version: 1, tenantId: 'default', gatewayId: 'g1', model: 'm', voice: 'v', speed: 1 },
    }),
  });
  await log.addPhrases(
    streamId,
    0,
    Array.from({ length: phraseCount }, (_, index) => ({ text: `Phrase ${index}.` })),
  );
  return streamId;
}

/** The ids of the queue's jobs in the order in which a worker gets them. */
async function takeAll(count: number): Promise<string[]> {
  const taken: string[] = [];
  const connection = openRedis(server.url, { role: 'patient', onError: ignore });
  const worker = new Worker(queueName, async (job) => void taken.push(job.id ?? ''), {
    connection,
    concurrency: 1,
    skipVersionCheck: true,
  });
  worker.on('error', ignore);
  await until(() => taken.length >= count);
  await worker.close();
  connection.disconnect();
  return taken;
}

describe('releasing', () => {
  it('enqueues what may run, each phrase once, with its text', async () => {
    const streamId = await openSpeech(3);
    await Promise.all([1, 2, 3].map(() => releasePhrases(log, jobs, streamId)));
    expect(await takeAll(2)).toEqual([`${streamId}-0`, `${streamId}-1`]);
  });

  it('puts the first phrase of any stream before later ones of others', async () => {
    const one = await openSpeech(3, 3);
    await releasePhrases(log, jobs, one);
    const other = await openSpeech(2, 2);
    await releasePhrases(log, jobs, other);
    expect(await takeAll(5)).toEqual([
      `${one}-0`,
      `${other}-0`,
      `${one}-1`,
      `${other}-1`,
      `${one}-2`,
    ]);
  });

  it('does nothing for a stream that is over or unknown', async () => {
    await releasePhrases(log, jobs, 's-unknown');
    expect(await redis.exists(`bull:${queueName}:meta`)).toBe(0);
  });

  it('makes up for a caller that died before it had enqueued, after a second', async () => {
    const streamId = await openSpeech(2);
    const lost = await log.release(streamId); // and nothing more
    expect(lost.phrases).toHaveLength(2);
    expect((await log.release(streamId)).phrases).toEqual([]);
    await until(
      async () => {
        await releasePhrases(log, jobs, streamId);
        return redis.exists(`bull:${queueName}:${streamId}-1`);
      },
      { intervalMs: 50 },
    );
    expect(await takeAll(2)).toEqual([`${streamId}-0`, `${streamId}-1`]);
  });

  it('leaves a phrase that was claimed alone', async () => {
    const streamId = await openSpeech(2);
    const { phrases } = await log.release(streamId);
    await log.claim(streamId, 'phrase-0', 'w1');
    const again: number[] = [];
    await until(
      async () => {
        again.push(...(await log.release(streamId)).phrases.map(({ phraseIndex }) => phraseIndex));
        return again.length > 0;
      },
      { intervalMs: 50 },
    );
    expect(phrases).toHaveLength(2);
    expect(again).toEqual([1]);
  });

  it('claims of a phrase that has ended do not run it again', async () => {
    const streamId = await openSpeech(2);
    await log.release(streamId);
    const producer = log.producer(
      streamId,
      'phrase-0',
      await log.claim(streamId, 'phrase-0', 'w1'),
    );
    await producer.append({ type: 'audio-end', phraseIndex: 0 }, { ends: 'phrase' });
    expect(await log.claim(streamId, 'phrase-0', 'w2')).toMatchObject({ status: 'ended' });
  });
});

describe('enqueueing', () => {
  const chat: ChatJob = {
    ...{ version: 1, streamId: 's1', tenantId: 'default', gatewayId: 'g1', model: 'm' },
    ...{ stream: true, choiceCount: 1, requestJson: '{}' },
  };

  it('throws queue_unavailable at once while Redis is away, and works again after', async () => {
    const own = await startRedis();
    const connection = openRedis(own.url, { role: 'command', onError: ignore });
    await whenReady(connection);
    const producer = new JobProducer(connection, ignore);
    await producer.enqueue(queueName, 'chat', chat, { jobId: 's1' });
    await own.kill();
    await until(() => connection.status !== 'ready');
    const startedMs = performance.now();
    await expect(producer.enqueue(queueName, 'chat', chat, { jobId: 's2' })).rejects.toMatchObject({
      code: 'queue_unavailable',
      retryAfterSeconds: 1,
    });
    expect(performance.now() - startedMs).toBeLessThan(3000);
    await own.restart();
    await until(() => connection.status === 'ready');
    await producer.enqueue(queueName, 'chat', chat, { jobId: 's3' });
    expect(await connection.llen(`bull:${queueName}:wait`)).toBeGreaterThanOrEqual(1);
    await producer.close();
    connection.disconnect();
    await own.close();
  }, 30_000);

  it('throws queue_unavailable on a queue that was never reached', async () => {
    const url = `redis://127.0.0.1:${await freePort()}`;
    const connection = openRedis(url, { role: 'command', onError: ignore });
    const producer = new JobProducer(connection, ignore);
    await expect(producer.enqueue(queueName, 'chat', chat, { jobId: 's1' })).rejects.toMatchObject({
      code: 'queue_unavailable',
    });
    connection.disconnect();
  });

  it('refuses what does not belong into Redis', async () => {
    const requestJson = 'x'.repeat(600_000);
    await expect(
      jobs.enqueue(queueName, 'chat', { ...chat, requestJson }, { jobId: 's1' }),
    ).rejects.toMatchObject({ code: 'queue_unavailable' });
  });
});
