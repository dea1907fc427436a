import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { PATIENCE, until } from '@antiphon/testing/until';
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { JobKind } from '../jobs/job-catalog.ts';
import { withLogContext } from '../runtime/log-context.ts';
import { StreamLog } from '../streams/stream-log.ts';
import { gatewayKey } from '../streams/stream-key.ts';
import type { ScriptedRedis } from '../streams/stream-scripts.ts';
import { JobProducer } from './job-producer.ts';
import { type JobContext, type JobHandler, JobWorker, createWorkerId } from './job-worker.ts';
import { openRedis, whenReady } from './redis.ts';

const GATEWAY_ID = 'g1';
const ignore = () => undefined;
const logger = pino({ level: 'silent' });
const heard = { type: 'transcript-end' as const, language: 'en', durationSeconds: 1 };
const end = { type: 'text-end' as const, finishReason: 'stop' as const };

let server: RedisServer;
let redis: ScriptedRedis;
let commandRedis: ScriptedRedis;
let log: StreamLog;
let jobs: JobProducer;
let chatQueue: string;
let listenQueue: string;
let workers: { close(drainMs: number): Promise<void> }[];
let connections: ScriptedRedis[];
let queues = 0;

beforeAll(async () => {
  server = await startRedis();
  redis = openRedis(server.url, { role: 'patient', onError: ignore });
  commandRedis = openRedis(server.url, { role: 'command', onError: ignore });
  await whenReady(commandRedis);
  log = new StreamLog(redis);
  jobs = new JobProducer(commandRedis, ignore);
});
beforeEach(async () => {
  queues += 1;
  chatQueue = `llm-test${queues}`;
  listenQueue = `stt-test${queues}`;
  workers = [];
  connections = [];
  await redis.set(gatewayKey(GATEWAY_ID), 1);
});
afterEach(async () => {
  await Promise.all(workers.map((worker) => worker.close(0)));
  for (const connection of connections) connection.disconnect();
});
afterAll(async () => {
  await jobs.close();
  redis.disconnect();
  commandRedis.disconnect();
  await server.close();
});

async function startWorker<Kind extends JobKind>(
  kind: Kind,
  handler: JobHandler<Kind>,
): Promise<void> {
  const open = (role: 'patient' | 'subscriber') => {
    const connection = openRedis(server.url, { role, onError: ignore });
    connections.push(connection);
    return connection;
  };
  const streamRedis = open('patient');
  const worker = new JobWorker<Kind>({
    kind,
    queueName: kind === 'chat' ? chatQueue : listenQueue,
    workerId: createWorkerId(kind),
    concurrency: 1,
    lockDurationMs: 1000,
    stalledIntervalMs: 300,
    handler,
    log: new StreamLog(streamRedis),
    queueRedis: open('patient'),
    streamRedis,
    subscriber: open('subscriber'),
    logger,
  });
  workers.push(worker);
  await worker.start();
}

const common = { version: 1 as const, tenantId: 'default', gatewayId: GATEWAY_ID, model: 'm' };

const chatJob = (streamId: string) => ({
  ...{ ...common, streamId, stream: true, choiceCount: 1, requestJson: '{}' },
});

/** A chat job with so many recordings. */
function enqueue(streamId: string, recordings: number): Promise<void> {
  const data = chatJob(streamId);
  return jobs.enqueueAfter(
    { queueName: chatQueue, jobId: streamId, data },
    Array.from({ length: recordings }, (_, partIndex) => ({
      queueName: listenQueue,
      jobId: `${streamId}-t${partIndex}`,
      data: {
        ...{ ...common, streamId, blobId: 'b', format: 'wav' as const, sizeBytes: 1 },
        ...{ operation: 'transcribe' as const, wordTimes: false, maxAudioSeconds: 1 },
        chatPart: { partIndex, transcriptKey: `k${partIndex}`, keepMs: 1000 },
      },
    })),
  );
}

async function ask(recordings: number): Promise<string> {
  const streamId = await log.open({
    ...{ tenantId: 'default', gatewayId: GATEWAY_ID, kind: 'chat', model: 'm', queueName: 'q' },
    ...{ maxLogBytes: 1e6, ttlMs: 60_000, logTtlMs: 30_000 },
  });
  await enqueue(streamId, recordings);
  return streamId;
}

const listened = ({ producer }: JobContext<'transcription'>) =>
  producer.append(heard, { ends: 'producer' });
const answered = ({ producer }: JobContext<'chat'>) => producer.append(end, { ends: 'stream' });

const statusOf = async (streamId: string) => (await log.state(streamId))?.['status'];
/** What is left of a stream's jobs in Redis. */
const jobKeys = async (streamId: string) => redis.keys(`bull:*:${streamId}*`);

/** Types of the stream's entries, claims left out. */
async function eventsOf(streamId: string): Promise<string[]> {
  const { entries } = await log.read(streamId, 1, 100);
  return entries.map(({ event }) => event.type).filter((type) => type !== 'job-claim');
}

describe('a chat job behind its transcriptions', () => {
  it('is given out when all of them are done, and leaves nothing', async () => {
    const gates = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const running = new Set<number>();
    const listen: JobHandler<'transcription'> = async (context) => {
      const { partIndex } = context.job.chatPart ?? { partIndex: -1 };
      running.add(partIndex);
      await gates[partIndex]?.promise;
      await listened(context);
    };
    await startWorker('chat', answered);
    const streamId = await ask(2);
    await startWorker('transcription', listen);
    await startWorker('transcription', listen);
    await until(() => running.size === 2, { what: 'both at once' });
    gates[0]?.resolve();
    await until(async () => (await eventsOf(streamId)).length === 1);
    // What is enqueued now overtakes the chat job, which still waits for the other recording.
    const other = await ask(0);
    await until(async () => (await statusOf(other)) === 'done');
    expect(await eventsOf(streamId)).toEqual(['transcript-end']);
    gates[1]?.resolve();
    await until(async () => (await statusOf(streamId)) === 'done');
    expect(await eventsOf(streamId)).toEqual(['transcript-end', 'transcript-end', 'text-end']);
    await until(async () => (await jobKeys(streamId)).length === 0);
  });

  it('carries the request that asked for it, as its transcriptions do', async () => {
    const seen: unknown[] = [];
    await startWorker('chat', async (context) => {
      seen.push(context.job.requestId);
      await answered(context);
    });
    await startWorker('transcription', async (context) => {
      seen.push(context.job.requestId);
      await listened(context);
    });
    const streamId = await withLogContext({ requestId: 'req_3' }, () => ask(1));
    await until(async () => (await statusOf(streamId)) === 'done');
    expect(seen).toEqual(['req_3', 'req_3']);
  });

  it('runs once though it was enqueued twice', async () => {
    let runs = 0;
    const streamId = await ask(1);
    await enqueue(streamId, 1);
    await startWorker('transcription', listened);
    await startWorker('chat', async (context) => {
      runs += 1;
      await answered(context);
    });
    await until(async () => (await statusOf(streamId)) === 'done');
    await until(async () => (await jobKeys(streamId)).length === 0);
    expect(runs).toBe(1);
  });

  it('runs, and finds its stream closed, when one of them has written an error', async () => {
    let runs = 0;
    await startWorker('chat', async () => {
      runs += 1;
    });
    await startWorker('transcription', async ({ job }) => {
      if (job.chatPart?.partIndex === 0) throw new TypeError('broken');
    });
    const streamId = await ask(2);
    await until(async () => (await jobKeys(streamId)).length === 0);
    expect(await eventsOf(streamId)).toEqual(['stream-error']);
    expect(runs).toBe(0);
  });

  it('fails without being run when one of them killed two workers: one error', async () => {
    const source = (file: string) => JSON.stringify(new URL(file, import.meta.url).href);
    const program = `
      import { pino } from ${JSON.stringify(import.meta.resolve('pino'))};
      import { JobWorker } from ${source('./job-worker.ts')};
      import { openRedis } from ${source('./redis.ts')};
      import { StreamLog } from ${source('../streams/stream-log.ts')};
      const open = (role: 'patient' | 'subscriber') => openRedis(${JSON.stringify(server.url)}, { role, onError() {} });
      const streamRedis = open('patient');
      await new JobWorker({
        kind: 'transcription', queueName: '${listenQueue}', workerId: 'poisoned', concurrency: 1,
        lockDurationMs: 500, stalledIntervalMs: 200, handler: async () => process.exit(7),
        log: new StreamLog(streamRedis), queueRedis: open('patient'), streamRedis,
        subscriber: open('subscriber'), logger: pino({ level: 'silent' }),
      }).start();
    `;
    const children: ChildProcess[] = [];
    const startPoisoned = () => {
      const child = spawn(process.execPath, ['--input-type=module-typescript', '-e', program], {
        stdio: ['ignore', 'ignore', 'inherit'],
      });
      children.push(child);
      return once(child, 'exit');
    };
    let runs = 0;
    const count = async () => {
      runs += 1;
    };
    try {
      await startWorker('chat', count);
      const streamId = await ask(1);
      expect(await startPoisoned()).toEqual([7, null]);
      expect(await startPoisoned()).toEqual([7, null]);
      await startWorker('transcription', count);
      await until(async () => (await statusOf(streamId)) === 'error');
      const { entries } = await log.read(streamId, 1, 100);
      const ends = entries.filter(({ terminal }) => terminal);
      expect(ends.map(({ event }) => event)).toMatchObject([
        { error: { code: 'stream_interrupted' } },
      ]);
      // Given out and failed without its handler, so that it does not wait for ever.
      await until(async () => (await redis.zscore(`bull:${chatQueue}:failed`, streamId)) !== null);
      expect(await eventsOf(streamId)).toEqual(['stream-error']);
      expect(runs).toBe(0);
    } finally {
      for (const child of children) child.kill('SIGKILL');
    }
  }, 40_000);
});

describe('discard', () => {
  it('takes a chat job and what it waits for out of their queues', async () => {
    const streamId = await ask(2);
    expect((await jobKeys(streamId)).length).toBeGreaterThan(2);
    expect(await jobs.discard(chatQueue, streamId)).toBe(true);
    expect(await jobKeys(streamId)).toEqual([]);
    expect(await redis.llen(`bull:${listenQueue}:wait`)).toBe(0);
    expect(await jobs.discard(chatQueue, streamId)).toBe(false);
  });

  it('takes one transcription, and the chat job waits for the others', async () => {
    const streamId = await ask(2);
    expect(await jobs.discard(listenQueue, `${streamId}-t0`)).toBe(true);
    await startWorker('transcription', listened);
    await startWorker('chat', answered);
    await until(async () => (await statusOf(streamId)) === 'done');
    expect(await eventsOf(streamId)).toEqual(['transcript-end', 'text-end']);
  });

  it('leaves alone what is being worked on, and the chat job that waits for it', async () => {
    const gate = Promise.withResolvers<void>();
    let runs = 0;
    await startWorker('transcription', async (context) => {
      runs += 1;
      await gate.promise;
      await listened(context);
    });
    const streamId = await ask(2);
    await until(() => runs === 1);
    expect(await jobs.discard(chatQueue, streamId)).toBe(false);
    const both = [0, 1].map((part) => jobs.discard(listenQueue, `${streamId}-t${part}`));
    expect((await Promise.all(both)).filter(Boolean)).toHaveLength(1);
    gate.resolve();
    await startWorker('chat', answered);
    await until(async () => (await statusOf(streamId)) === 'done');
    expect(runs).toBe(1);
  });

  it('is silent about what it never heard of', async () => {
    expect(await jobs.discard(chatQueue, 'unknown')).toBe(false);
    expect(await jobs.discard(chatQueue, '')).toBe(false);
  });
});

describe('Redis', () => {
  it('without memory takes none of them: storage_full', async () => {
    await redis.config('SET', 'maxmemory', '1');
    try {
      for (const recordings of [0, 2]) {
        const full = { code: 'storage_full' };
        await expect(enqueue('sfull', recordings)).rejects.toMatchObject(full);
      }
    } finally {
      await redis.config('SET', 'maxmemory', '0');
    }
    expect(await jobKeys('sfull')).toEqual([]);
  });

  it('that forgot all scripts takes the next flow, and one after a flow that it refused', async () => {
    await startWorker('transcription', listened);
    await startWorker('chat', answered);
    const spoken = async () => {
      const streamId = await ask(2);
      await until(async () => (await statusOf(streamId)) === 'done');
    };
    await spoken();
    await redis.script('FLUSH');
    await spoken();
    // Some are known again, since a job that is enqueued alone brings its script.
    await redis.script('FLUSH');
    await jobs.enqueue('llm-other', 'chat', chatJob('sother'), { jobId: 'sother' });
    await spoken();
    await redis.script('FLUSH');
    await redis.config('SET', 'maxmemory', '1');
    await expect(enqueue('srefused', 2)).rejects.toMatchObject({ code: 'storage_full' });
    await redis.config('SET', 'maxmemory', '0');
    await spoken();
  });

  it('that takes the chat job and not its transcriptions keeps none', async () => {
    await redis.set(`bull:${listenQueue}:wait`, 'no list');
    const failed = { code: 'queue_unavailable' };
    await expect(enqueue('shalf', 2)).rejects.toMatchObject(failed);
    await until(async () => (await redis.exists(`bull:${chatQueue}:shalf`)) === 0);
    for (const list of ['wait', 'waiting-children']) {
      expect(await redis.exists(`bull:${chatQueue}:${list}`)).toBe(0);
    }
  });

  it('that does not answer, or is away: queue_unavailable within the time of a command', async () => {
    const streamId = await ask(1);
    const away = { code: 'queue_unavailable', retryAfterSeconds: 1 };
    let startedMs = performance.now();
    process.kill(server.pid, 'SIGSTOP');
    try {
      const discarded = jobs.discard(chatQueue, streamId);
      await expect(enqueue('saway', 2)).rejects.toMatchObject(away);
      expect(await discarded).toBe(false);
    } finally {
      process.kill(server.pid, 'SIGCONT');
    }
    expect(performance.now() - startedMs).toBeLessThan(2000 * PATIENCE);
    await server.kill();
    await until(() => commandRedis.status !== 'ready');
    startedMs = performance.now();
    await expect(enqueue('saway', 2)).rejects.toMatchObject(away);
    expect(await jobs.discard(chatQueue, streamId)).toBe(false);
    expect(performance.now() - startedMs).toBeLessThan(1000 * PATIENCE);
    await server.restart();
    await whenReady(commandRedis);
    // A Redis that came back has forgotten the scripts that flows are added by.
    await redis.set(gatewayKey(GATEWAY_ID), 1);
    await startWorker('transcription', listened);
    await startWorker('chat', answered);
    const next = await ask(2);
    await until(async () => (await statusOf(next)) === 'done');
  }, 40_000);
});
