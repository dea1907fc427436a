import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { startTcpProxy } from '@antiphon/testing/tcp-proxy';
import { PATIENCE, until } from '@antiphon/testing/until';
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { ChatJob } from '../jobs/job-catalog.ts';
import { gatewayKey } from '../streams/stream-key.ts';
import { publishControl } from '../streams/control-channel.ts';
import type { StreamEntry } from '../streams/stream-event.ts';
import { StreamLog } from '../streams/stream-log.ts';
import type { StreamReader } from '../streams/stream-reader.ts';
import type { ScriptedRedis } from '../streams/stream-scripts.ts';
import { StreamSubscriber } from '../streams/stream-subscriber.ts';
import { logContext, withLogContext } from '../runtime/log-context.ts';
import { VoiceError } from '../errors/voice-error.ts';
import { JobProducer } from './job-producer.ts';
import { type GiveUp, type JobHandler, JobWorker, createWorkerId } from './job-worker.ts';
import { openRedis } from './redis.ts';

const GATEWAY_ID = 'g1';
const ignore = () => undefined;
const logger = pino({ level: 'silent' });
const text = (content: string) => ({ type: 'text-delta' as const, bytes: Buffer.from(content) });
const end = { type: 'text-end' as const, finishReason: 'stop' as const };

let server: RedisServer;
let redis: ScriptedRedis;
let subscriberRedis: ScriptedRedis;
let log: StreamLog;
let subscriber: StreamSubscriber;
let jobs: JobProducer;
let queueName: string;
let workers: JobWorker<'chat'>[];
let connections: ScriptedRedis[];
let queues = 0;

beforeAll(async () => {
  server = await startRedis(['--appendfsync', 'always']);
  redis = openRedis(server.url, { role: 'patient', onError: ignore });
  subscriberRedis = openRedis(server.url, { role: 'subscriber', onError: ignore });
  log = new StreamLog(redis);
  subscriber = new StreamSubscriber(subscriberRedis, log);
  jobs = new JobProducer(redis, ignore);
});
beforeEach(async () => {
  queues += 1;
  queueName = `llm-test${queues}`;
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
  subscriber.close();
  redis.disconnect();
  subscriberRedis.disconnect();
  await server.close();
});

async function startWorker(
  handler: JobHandler<'chat'>,
  concurrency = 4,
  giveUp?: GiveUp<'chat'>,
  redisUrl = server.url,
): Promise<JobWorker<'chat'>> {
  const open = (role: 'patient' | 'subscriber') => {
    const connection = openRedis(redisUrl, { role, onError: ignore });
    connections.push(connection);
    return connection;
  };
  const streamRedis = open('patient');
  const worker = new JobWorker<'chat'>({
    kind: 'chat',
    queueName,
    workerId: createWorkerId('llm'),
    ...{ concurrency, giveUp },
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
  return worker;
}

async function openStream(gatewayId = GATEWAY_ID) {
  const streamId = await log.open({
    tenantId: 'default',
    gatewayId,
    kind: 'chat',
    model: 'm',
    queueName: 'q',
    maxLogBytes: 1e6,
    ttlMs: 60_000,
    logTtlMs: 30_000,
  });
  return { streamId, reader: await subscriber.subscribe(streamId) };
}

const jobOf = (streamId: string, gatewayId = GATEWAY_ID): ChatJob => ({
  version: 1,
  streamId,
  tenantId: 'default',
  gatewayId,
  model: 'm',
  stream: true,
  choiceCount: 1,
  requestJson: '{}',
});

async function ask(gatewayId = GATEWAY_ID) {
  const { streamId, reader } = await openStream(gatewayId);
  const job = jobOf(streamId, gatewayId);
  const enqueue = () => jobs.enqueue(queueName, 'chat', job, { jobId: streamId });
  await enqueue();
  return { streamId, reader, enqueue };
}

/** What a client would have got, and the invariant of every stream: no hole, no double, one end. */
async function answerOf(
  reader: StreamReader,
): Promise<{ text: string; error: string | undefined }> {
  const entries: StreamEntry[] = [];
  while (!entries.at(-1)?.terminal) entries.push(...(await reader.next()));
  reader.close();
  const last = entries.at(-1)?.event;
  const stopped = last?.type === 'stream-error' && last.error.code === 'stream_cancelled';
  const seqs = entries.map(({ seq }) => seq);
  // A stop overtakes what lies before it.
  expect(stopped || seqs.every((seq, index) => seq === index + 1)).toBe(true);
  expect(entries.filter(({ terminal }) => terminal)).toHaveLength(1);
  const texts = entries.flatMap(({ event }) =>
    event.type === 'text-delta' ? [event.bytes.toString()] : [],
  );
  return {
    text: texts.join(''),
    error: last?.type === 'stream-error' ? last.error.code : undefined,
  };
}

/** Waits for the signal and throws its reason, as engines do. */
async function untilAborted(signal: AbortSignal): Promise<never> {
  if (!signal.aborted) await once(signal, 'abort');
  throw signal.reason;
}

const speak: JobHandler<'chat'> = async ({ producer }) => {
  await producer.append(text('hello'));
  await producer.append(end, { ends: 'stream' });
};

describe('a job', () => {
  it('is run, and its job leaves nothing in the queue', async () => {
    const worker = await startWorker(speak);
    const { reader, streamId } = await ask();
    expect(await answerOf(reader)).toEqual({ text: 'hello', error: undefined });
    await until(() => worker.activeCount === 0);
    await until(async () => (await redis.exists(`bull:${queueName}:${streamId}`)) === 0);
  });

  it('is taken although all connections of the worker died without a word before it came', async () => {
    const proxy = await startTcpProxy(server.port);
    try {
      await startWorker(speak, 4, undefined, `redis://127.0.0.1:${proxy.port}`);
      // Three of its own, and the one on which it waits for jobs.
      await until(() => proxy.connections().length === 4);
      const { reader: first } = await ask();
      expect(await answerOf(first)).toEqual({ text: 'hello', error: undefined });
      proxy.loseAll();
      const { reader } = await ask();
      expect(await answerOf(reader)).toEqual({ text: 'hello', error: undefined });
    } finally {
      for (const connection of connections) connection.disconnect();
      await proxy.close();
    }
  });

  it('runs once however often it is enqueued, also after its end', async () => {
    let runs = 0;
    await startWorker(async (context) => {
      runs += 1;
      await speak(context);
    });
    const { reader, enqueue, streamId } = await ask();
    await Promise.all([enqueue(), enqueue()]);
    expect(await answerOf(reader)).toEqual({ text: 'hello', error: undefined });
    await until(async () => (await redis.exists(`bull:${queueName}:${streamId}`)) === 0);
    await enqueue();
    await until(async () => (await redis.exists(`bull:${queueName}:${streamId}`)) === 0);
    expect(runs).toBe(1);
  });

  it('is logged under the request that asked for it, whoever logs', async () => {
    const lines: Record<string, unknown>[] = [];
    const written = pino(
      { mixin: () => ({ ...logContext() }) },
      {
        write: (line: string) => void lines.push(JSON.parse(line)),
      },
    );
    await startWorker(async (context) => {
      await speak(context);
      written.info('from an engine');
    });
    const { streamId, reader } = await withLogContext({ requestId: 'req_2' }, () => ask());
    await answerOf(reader);
    await until(() => lines.length > 0);
    const ids = { requestId: 'req_2', tenantId: 'default', streamId, jobId: streamId };
    expect(lines).toMatchObject([ids]);
  });

  it('of a stopped stream is not begun', async () => {
    let runs = 0;
    const { streamId, reader, enqueue } = await ask();
    await log.finish(streamId, new VoiceError('stream_cancelled'));
    await startWorker(async () => {
      runs += 1;
    });
    await enqueue();
    await until(async () => (await redis.exists(`bull:${queueName}:${streamId}`)) === 0);
    expect(runs).toBe(0);
    expect(await answerOf(reader)).toEqual({ text: '', error: 'stream_cancelled' });
  });

  it('ends its stream with the error that its handler throws', async () => {
    await startWorker(async ({ producer }) => {
      await producer.append(text('he'));
      throw new VoiceError('upstream_timeout');
    });
    expect(await answerOf((await ask()).reader)).toEqual({ text: 'he', error: 'upstream_timeout' });
  });

  it('ends its stream with internal_error when its handler throws anything else', async () => {
    await startWorker(async () => {
      throw new TypeError('secret');
    });
    expect(await answerOf((await ask()).reader)).toEqual({ text: '', error: 'internal_error' });
  });

  it.each([
    ['a version of the future', { version: 2 }],
    ['a field of another type', { stream: 'yes' }],
  ])('ends its stream when its data has %s', async (_name, wrong) => {
    await startWorker(speak);
    const { streamId, reader } = await openStream();
    const job = { ...jobOf(streamId), ...wrong } as ChatJob;
    await jobs.enqueue(queueName, 'chat', job, { jobId: streamId });
    expect(await answerOf(reader)).toEqual({ text: '', error: 'internal_error' });
  });
});

describe('the signal of a job', () => {
  it('aborts when its stream is ended from outside', async () => {
    const reasons: unknown[] = [];
    let begun = false;
    const worker = await startWorker(async ({ signal }) => {
      signal.addEventListener('abort', () => reasons.push(signal.reason));
      begun = true;
      await untilAborted(signal);
    });
    const { streamId, reader } = await ask();
    // A job counts as active before its claim: on a stream that ended by then no handler is called.
    await until(() => begun);
    await log.finish(streamId, new VoiceError('stream_cancelled'));
    await until(() => worker.activeCount === 0);
    expect(reasons).toHaveLength(1);
    expect(await answerOf(reader)).toEqual({ text: '', error: 'stream_cancelled' });
  });

  it('does not abort by messages about others, or of other kinds', async () => {
    const { promise: released, resolve: release } = Promise.withResolvers<void>();
    let aborted = false;
    const worker = await startWorker(async (context) => {
      await released;
      aborted = context.signal.aborted;
      await speak(context);
    });
    const { reader } = await ask();
    await until(() => worker.activeCount === 1);
    await publishControl(redis, { type: 'stream-end', streamId: 'other' });
    await publishControl(redis, { type: 'worker-change' });
    release();
    expect(await answerOf(reader)).toEqual({ text: 'hello', error: undefined });
    expect(aborted).toBe(false);
  });

  it('aborts when its lock is lost, and what it writes then goes nowhere', async () => {
    const runs: { signal: AbortSignal; outcome: Promise<unknown> }[] = [];
    const { promise: late, resolve: letLate } = Promise.withResolvers<void>();
    const handler: JobHandler<'chat'> = async (context) => {
      const first = runs.length === 0;
      const outcome = (async () => {
        if (!first) return speak(context);
        await late;
        await context.producer.append(text('zombie'));
      })();
      runs.push({ signal: context.signal, outcome: outcome.catch((error: unknown) => error) });
      await outcome;
    };
    for (let count = 0; count < 2; count += 1) await startWorker(handler);
    const { streamId, reader } = await ask();
    await until(() => runs.length === 1);
    await until(() => redis.del(`bull:${queueName}:${streamId}:lock`)); // as if it had expired
    await until(() => runs[0]?.signal.aborted, { timeoutMs: 5000 });
    await until(() => runs.length === 2);
    letLate();
    expect(await runs[0]?.outcome).toMatchObject({ name: 'StreamClosed' });
    expect(await answerOf(reader)).toEqual({ text: 'hello', error: undefined });
  }, 20_000);

  it('aborts when the gateway of its stream is gone, however many there are', async () => {
    const worker = await startWorker(({ signal }) => untilAborted(signal), 20);
    const gatewayIds = Array.from({ length: 20 }, (_, index) => `g-dies${index}`);
    await Promise.all(gatewayIds.map((gatewayId) => redis.set(gatewayKey(gatewayId), 1)));
    const asked = await Promise.all(gatewayIds.map((gatewayId) => ask(gatewayId)));
    await until(() => worker.activeCount === gatewayIds.length);
    await redis.del(...gatewayIds.map(gatewayKey));
    // One behind the other took 2 s each: 40 s and more.
    const timedOut = AbortSignal.timeout(10_000 * PATIENCE);
    for (const { reader } of asked) {
      timedOut.throwIfAborted();
      expect(await answerOf(reader)).toEqual({ text: '', error: 'stream_interrupted' });
    }
    timedOut.throwIfAborted();
    await until(() => worker.activeCount === 0);
  }, 120_000);
});

it('does not begin a job whose gateway is gone, but waits for one that renews', async () => {
  const runs: string[] = [];
  await startWorker(async (context) => {
    runs.push(context.job.gatewayId);
    await speak(context);
  });
  const [gone, back] = [await ask('g-gone'), await ask('g-back')];
  await until(() => redis.hget(`antiphon:{${back.streamId}}:state`, 'chat:epoch'));
  await redis.set(gatewayKey('g-back'), 1);
  expect(await answerOf(gone.reader)).toEqual({ text: '', error: 'stream_interrupted' });
  expect(await answerOf(back.reader)).toEqual({ text: 'hello', error: undefined });
  expect(runs).toEqual(['g-back']);
}, 20_000);

it('gives a handler up that does not heed its signal, and runs others', async () => {
  let runs = 0;
  await startWorker(async (context) => {
    runs += 1;
    if (runs > 1) return speak(context);
    await new Promise(() => undefined);
  }, 1);
  const deaf = await ask();
  await until(() => runs === 1);
  await log.finish(deaf.streamId, new VoiceError('stream_cancelled'));
  const next = await ask();
  expect(await answerOf(next.reader)).toEqual({ text: 'hello', error: undefined });
}, 20_000);

describe('close', () => {
  it('lets a running job end, and takes no other', async () => {
    const { promise: released, resolve: release } = Promise.withResolvers<void>();
    const worker = await startWorker(async (context) => {
      await released;
      await speak(context);
    });
    const running = await ask();
    await until(() => worker.activeCount === 1);
    const closed = worker.close(20_000);
    const waiting = await ask();
    release();
    expect(await answerOf(running.reader)).toEqual({ text: 'hello', error: undefined });
    await closed;
    expect(await redis.llen(`bull:${queueName}:wait`)).toBe(1);
    await startWorker(speak);
    expect(await answerOf(waiting.reader)).toEqual({ text: 'hello', error: undefined });
  });

  it.each([
    ['throws its reason', ({ signal }: { signal: AbortSignal }) => untilAborted(signal)],
    [
      'throws an error of its own',
      ({ signal }: { signal: AbortSignal }) =>
        untilAborted(signal).catch(() => {
          throw new VoiceError('upstream_protocol');
        }),
    ],
    ['goes on for ever', () => new Promise<never>(() => undefined)],
  ])(
    'ends what is not done in time with server_shutting_down: a handler that %s',
    async (_name, wait) => {
      const worker = await startWorker(async ({ producer, signal }) => {
        await producer.append(text('a'));
        await wait({ signal });
      });
      const { reader } = await ask();
      await until(() => reader.producedSeq >= 2);
      await worker.close(100);
      expect(await answerOf(reader)).toEqual({ text: 'a', error: 'server_shutting_down' });
    },
    20_000,
  );
});

describe('Redis', () => {
  it('killed and brought back in mid-stream: nothing is lost or doubled', async () => {
    const { promise: restarted, resolve: goOn } = Promise.withResolvers<void>();
    await startWorker(async ({ producer }) => {
      for (let index = 0; index < 60; index += 1) {
        if (index === 30) await restarted;
        await producer.append(text(`${index},`));
      }
      await producer.append(end, { ends: 'stream' });
    });
    const { reader, streamId } = await ask();
    await until(async () => Number((await log.state(streamId))?.['seq']) >= 20);
    await server.kill();
    const answered = answerOf(reader);
    goOn();
    await server.restart();
    const answer = await answered;
    const expected = Array.from({ length: 60 }, (_, index) => `${index},`).join('');
    expect(answer).toEqual({ text: expected, error: undefined });
  }, 40_000);

  it('that lost what was written ends the stream by one error', async () => {
    const { promise: lost, resolve: goOn } = Promise.withResolvers<void>();
    await startWorker(async ({ producer }) => {
      await producer.append(text('a'));
      await producer.append(text('b'));
      await lost;
      await producer.append(text('c'));
    });
    const { reader, streamId } = await ask();
    const key = `antiphon:{${streamId}}`;
    await until(async () => (await redis.hget(`${key}:state`, 'chat:index')) === '2');
    await redis.xdel(`${key}:log`, '3-0');
    await redis.call('XSETID', `${key}:log`, '2-0');
    await redis.hset(`${key}:state`, 'seq', 2, 'chat:index', 1);
    goOn();
    await until(async () => (await log.state(streamId))?.['status'] === 'error');
    const { entries } = await log.read(streamId, 3, 1);
    expect(entries[0]?.event).toMatchObject({ error: { code: 'stream_interrupted' } });
    reader.close();
  });

  it('without memory ends the stream with storage_full', async () => {
    const { promise: full, resolve: goOn } = Promise.withResolvers<void>();
    const worker = await startWorker(async ({ producer }) => {
      await producer.append(text('a'));
      await full;
      await producer.append(text('b'));
      await producer.append(end, { ends: 'stream' });
    });
    const { reader } = await ask();
    await until(() => worker.activeCount === 1);
    await until(() => reader.producedSeq >= 2);
    await redis.config('SET', 'maxmemory', '1');
    try {
      goOn();
      await expect(answerOf(reader)).rejects.toMatchObject({ code: 'storage_full' });
    } finally {
      await redis.config('SET', 'maxmemory', '0');
    }
    const next = await ask();
    expect(await answerOf(next.reader)).toEqual({ text: 'ab', error: undefined });
  }, 20_000);
});

it.each([
  ['its stream ends', 'stream_interrupted'],
  ['what is done about it is the handler’s to say', 'engine_failed'],
] as const)(
  'gives a job up that killed two workers: %s',
  async (_name, error) => {
    const source = (file: string) => JSON.stringify(new URL(file, import.meta.url).href);
    const program = `
    import { pino } from ${JSON.stringify(import.meta.resolve('pino'))};
    import { JobWorker } from ${source('./job-worker.ts')};
    import { openRedis } from ${source('./redis.ts')};
    import { StreamLog } from ${source('../streams/stream-log.ts')};
    const open = (role: 'patient' | 'subscriber') => openRedis(${JSON.stringify(server.url)}, { role, onError() {} });
    const streamRedis = open('patient');
    await new JobWorker({
      kind: 'chat', queueName: '${queueName}', workerId: 'poisoned', concurrency: 1,
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
    try {
      const { reader, streamId } = await withLogContext({ requestId: 'req_1' }, () => ask());
      expect(await startPoisoned()).toEqual([7, null]);
      expect(await startPoisoned()).toEqual([7, null]);
      let runs = 0;
      const count = async () => {
        runs += 1;
      };
      const giveUp: GiveUp<'chat'> = async (job) =>
        void (await log.finish(job.streamId, new VoiceError(error)));
      await startWorker(count, 4, error === 'engine_failed' ? giveUp : undefined);
      expect(await answerOf(reader)).toEqual({ text: '', error });
      expect(runs).toBe(0);
      // It is kept, for whoever looks why; what somebody asked is not.
      const kept = async () =>
        JSON.parse((await redis.hget(`bull:${queueName}:${streamId}`, 'data')) ?? '{}');
      await until(async () => !('requestJson' in (await kept())));
      expect(await kept()).toEqual({ streamId, tenantId: 'default', requestId: 'req_1' });
    } finally {
      for (const child of children) child.kill('SIGKILL');
    }
  },
  40_000,
);
