import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { startTcpProxy } from '@antiphon/testing/tcp-proxy';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { until } from '@antiphon/testing/until';
import { type JobsOptions, Queue } from 'bullmq';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { VoiceError } from '../errors/voice-error.ts';
import { FileIndex } from '../files/file-index.ts';
import {
  BATCH_LINE_JOB_OPTIONS,
  type BatchLineJob,
  batchLineJobId,
} from '../jobs/batch-line-job.ts';
import { EngineShare } from '../queue/engine-share.ts';
import { openRedis } from '../queue/redis.ts';
import { logContext } from '../runtime/log-context.ts';
import { type BlobStore, openDiskBlobStore } from '../storage/blob-store.ts';
import { publishControl } from '../streams/control-channel.ts';
import type { ScriptedRedis } from '../streams/stream-scripts.ts';
import { createBatchId, lineFileId, lineResultBlobId } from './batch-key.ts';
import { BatchStore, type LineOutcome } from './batch-store.ts';
import type { LineContext, LineHandler } from './line-handler.ts';
import { LineWorker } from './line-worker.ts';

type ChatHandler = LineHandler<'chat'>;
type Context = LineContext<'chat'>;

const ignore = () => undefined;
const logger = pino({ level: 'silent' });

let server: RedisServer;
let redis: ScriptedRedis;
let batches: BatchStore;
let files: FileIndex;
let directory: string;
let fileBlobs: BlobStore;
let queue: Queue;
let batchId: string;
let registry: Registry;
let workers: LineWorker<'chat'>[];
let connections: ScriptedRedis[];
let queues = 0;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'antiphon-lines-'));
  server = await startRedis(['--appendfsync', 'always']);
  redis = openRedis(server.url, { role: 'patient', onError: ignore });
  batches = new BatchStore(redis);
  files = new FileIndex(redis);
  fileBlobs = await openDiskBlobStore(directory);
});
beforeEach(async () => {
  queues += 1;
  queue = new Queue(`llm-test${queues}-batch`, { connection: redis, skipVersionCheck: true });
  queue.on('error', ignore);
  batchId = createBatchId();
  registry = new Registry();
  workers = [];
  connections = [];
  await batches.create({
    ...{ id: batchId, tenantId: 't', endpoint: '/v1/chat/completions', inputFileId: 'file-in' },
    ...{ completionWindow: '24h', windowSeconds: 3600, outputLifeSeconds: 60, requestId: 'req_1' },
  });
  await batches.start(batchId, { total: 100, model: 'm' });
});
afterEach(async () => {
  await Promise.all(workers.map((worker) => worker.close(0)));
  await queue.close();
  for (const connection of connections) connection.disconnect();
});
afterAll(async () => {
  redis.disconnect();
  await server.close();
  await rm(directory, { recursive: true });
});

interface StartOptions {
  share?: EngineShare;
  url?: string;
  totalMs?: number;
}

async function startWorker(handler: ChatHandler, options: StartOptions = {}) {
  const { url = server.url } = options;
  const open = (role: 'patient' | 'subscriber') => {
    const connection = openRedis(url, { role, onError: ignore });
    connections.push(connection);
    return connection;
  };
  const queueRedis = open('patient');
  const worker = new LineWorker<'chat'>({
    kind: 'chat',
    queueName: queue.name,
    share: options.share ?? new EngineShare({ concurrency: 2, sharePercent: 100 }),
    ...{ handler, totalMs: options.totalMs, logger },
    ...{ lockDurationMs: 1000, stalledIntervalMs: 300 },
    ...{ batches: new BatchStore(queueRedis), files, fileBlobs, queueRedis },
    subscriber: open('subscriber'),
    // The first one's is looked at.
    registry: workers.length === 0 ? registry : new Registry(),
  });
  workers.push(worker);
  await worker.start();
  return worker;
}

const jobOf = (line: number): BatchLineJob => ({
  ...{ version: 1, batchId, line, tenantId: 't', model: 'm', requestId: 'req_1' },
  work: { type: 'chat', choiceCount: 1, requestJson: '{}' },
});

async function enqueue(lines: number[], options: JobsOptions = {}): Promise<void> {
  await queue.addBulk(
    lines.map((line) => ({
      name: 'line',
      data: jobOf(line),
      opts: {
        ...{ ...BATCH_LINE_JOB_OPTIONS, backoff: { type: 'fixed', delay: 10 } },
        ...{ jobId: batchLineJobId(batchId, line), ...options },
      },
    })),
  );
}

/** Until line 0, or another, has a result. */
async function resultOf(line = 0) {
  return until(async () => (await batches.results(batchId, [line]))[0], {
    what: `the result of line ${line}`,
  });
}

async function isQueueEmpty(): Promise<boolean> {
  const counts = await queue.getJobCounts();
  return Object.values(counts).every((count) => count === 0);
}

async function counted(result: string): Promise<number> {
  const line = `antiphon_batch_lines_total{queue="${queue.name}",result="${result}"} `;
  const metrics = await registry.metrics();
  return Number(metrics.slice(metrics.indexOf(line) + line.length).split('\n')[0]);
}

const completion = (body = '{}'): LineOutcome => ({ result: { type: 'completion', body } });

/** Waits for the signal and throws its reason, as engines do. */
async function untilAborted(signal: AbortSignal): Promise<never> {
  if (!signal.aborted) await once(signal, 'abort');
  throw signal.reason;
}

/** Writes a file of the line's own, as speech does. */
async function speak({ job }: Context, sound = 'sound'): Promise<LineOutcome> {
  const id = lineFileId(job.batchId, job.line);
  await fileBlobs.put(Readable.from([Buffer.from(sound)]), id);
  const file = { id, tenantId: job.tenantId, bytes: 5, filename: 'a.pcm', purpose: 'batch_output' };
  return {
    result: {
      ...{ type: 'speech', model: 'm', voice: 'v', format: 'pcm', fileId: id },
      ...{ bytes: 5, durationMs: 1 },
    },
    file: { ...file, createdAtSeconds: 1 },
  };
}

async function bytesOf(blobId: string): Promise<string | undefined> {
  const blob = await fileBlobs.get(blobId);
  return blob === undefined ? undefined : text(blob);
}

describe('a line', () => {
  it('is run once and recorded, and its job leaves nothing', async () => {
    const lines: number[] = [];
    await startWorker(async ({ job }) => {
      lines.push(job.line);
      return completion(`{"line":${job.line}}`);
    });
    const all = Array.from({ length: 20 }, (_, line) => line);
    await enqueue(all);
    await enqueue(all);
    await until(async () => (await batches.get('t', batchId))?.completed === 20);
    await until(isQueueEmpty);
    await enqueue(all);
    await until(isQueueEmpty);
    expect(lines.toSorted((a, b) => a - b)).toEqual(all);
    expect(await resultOf(7)).toEqual({ type: 'completion', body: '{"line":7}' });
    expect(await counted('done')).toBe(20);
  });

  it('is logged under its batch and the request that made it', async () => {
    let seen = {};
    await startWorker(async () => {
      seen = logContext();
      return completion();
    });
    await enqueue([3]);
    await resultOf(3);
    const jobId = batchLineJobId(batchId, 3);
    expect(seen).toEqual({ batchId, line: 3, tenantId: 't', requestId: 'req_1', jobId });
  });

  it('of a batch that is over is not begun', async () => {
    let runs = 0;
    await batches.cancel('t', batchId);
    await startWorker(async () => {
      runs += 1;
      return completion();
    });
    await enqueue([0]);
    await until(async () => (await counted('dropped')) === 1);
    await until(isQueueEmpty);
    expect(runs).toBe(0);
  });

  it('of an unknown shape, or for another stage, is an error', async () => {
    await startWorker(async () => completion());
    await queue.add('line', { batchId, line: 0, version: 9 });
    const work = { type: 'speech', phrases: [], voice: 'v', speed: 1, format: 'wav' };
    await queue.add('line', { ...jobOf(1), work: { ...work, expiresAtSeconds: 1 } });
    await queue.add('line', { version: 9 });
    for (const line of [0, 1])
      expect(await resultOf(line)).toMatchObject({ error: { code: 'internal_error' } });
    await until(isQueueEmpty);
  });

  it('whose result is large lies in the store of files', async () => {
    await startWorker(async () => completion('x'.repeat(20_000)));
    await enqueue([0]);
    const blobId = lineResultBlobId(batchId, 0);
    expect(await resultOf()).toEqual({ type: 'stored', blobId });
    expect(JSON.parse((await bytesOf(blobId)) ?? '')).toEqual(
      completion('x'.repeat(20_000)).result,
    );
  });
});

describe('a failure', () => {
  it('that another try may not have is tried again, and is the result of the last', async () => {
    let runs = 0;
    await startWorker(async () => {
      runs += 1;
      throw new VoiceError('upstream_unavailable', { message: `try ${runs}` });
    });
    await enqueue([0]);
    const error = { code: 'upstream_unavailable', message: 'try 3' };
    expect(await resultOf()).toEqual({ type: 'error', error });
    await until(isQueueEmpty);
    expect(runs).toBe(3);
    expect(await counted('again')).toBe(2);
    expect(await counted('failed')).toBe(1);
    expect(await batches.get('t', batchId)).toMatchObject({ completed: 0, failed: 1 });
  });

  it('of the process is tried again too, and nothing of it stands in Redis', async () => {
    let runs = 0;
    const seen: string[] = [];
    await startWorker(async ({ job }) => {
      runs += 1;
      if (runs === 1) throw new Error('EIO: secret text');
      const hash = await redis.hgetall(
        `bull:${queue.name}:${batchLineJobId(job.batchId, job.line)}`,
      );
      seen.push(hash['failedReason'] ?? '', hash['stacktrace'] ?? '');
      return completion();
    });
    await enqueue([0]);
    expect(await resultOf()).toEqual(completion().result);
    expect(seen.join()).toContain('internal_error');
    expect(seen.join()).not.toContain('secret');
  });

  it.each([
    new VoiceError('upstream_rejected', { message: 'no such thing' }),
    new VoiceError('text_not_speakable', { param: 'input' }),
  ])('that every try would have is the result: %s', async (error) => {
    let runs = 0;
    await startWorker(async () => {
      runs += 1;
      throw error;
    });
    await enqueue([0]);
    expect(await resultOf()).toEqual({ type: 'error', error: error.serialize() });
    expect(runs).toBe(1);
  });

  it('of a busy upstream puts the line off as it asks, and is no try', async () => {
    let runs = 0;
    await startWorker(async () => {
      runs += 1;
      if (runs <= 5) throw new VoiceError('rate_limit_exceeded', { retryAfterSeconds: 0.02 });
      if (runs <= 7) throw new VoiceError('upstream_error');
      return completion();
    });
    await enqueue([0]);
    expect(await resultOf()).toEqual(completion().result);
    expect(runs).toBe(8);
    expect(await counted('delayed')).toBe(5);
    expect(await counted('again')).toBe(2);
  });

  it('without a time waits 5 s and more, and never longer than 90', async () => {
    await startWorker(async ({ job }) => {
      if (job.line === 0) throw new VoiceError('server_is_overloaded');
      throw new VoiceError('upstream_unavailable', { retryAfterSeconds: 86_400 });
    });
    await enqueue([0, 1]);
    await until(async () => (await queue.getDelayedCount()) === 2);
    const delays = (await queue.getDelayed()).map((job) => job.delay);
    expect(delays.filter((ms) => ms > 4900 && ms <= 7500)).toHaveLength(1);
    expect(delays.filter((ms) => ms > 59_000 && ms <= 90_000)).toHaveLength(1);
  });
});

describe('what comes first', () => {
  it.each([
    [1, 0],
    [2, 1],
    [3, 2],
  ])('of %d places beside one interactive job %d are for lines', async (concurrency, turns) => {
    const share = new EngineShare({ concurrency, sharePercent: 100 });
    const interactive = Promise.withResolvers<void>();
    const talk = share.interactive(() => interactive.promise);
    const end = Promise.withResolvers<void>();
    let using = 0;
    let most = 0;
    const worker = await startWorker(
      async ({ takeTurn }) => {
        const release = await takeTurn();
        using += 1;
        most = Math.max(most, using);
        await end.promise;
        using -= 1;
        release();
        return completion();
      },
      { share },
    );
    await enqueue([0, 1, 2, 3, 4, 5]);
    await until(() => worker.activeCount === concurrency + 2 && using === turns);
    interactive.resolve();
    await talk;
    await until(() => using === concurrency);
    end.resolve();
    await until(async () => (await batches.get('t', batchId))?.completed === 6);
    expect(most).toBe(concurrency);
  });

  it('turns of a handler that forgot them are given back', async () => {
    const share = new EngineShare({ concurrency: 1, sharePercent: 100 });
    await startWorker(
      async ({ job, takeTurn }) => {
        await takeTurn();
        if (job.line === 0) throw new VoiceError('upstream_rejected');
        return completion();
      },
      { share },
    );
    await enqueue([0, 1, 2]);
    expect(await resultOf(2)).toEqual(completion().result);
  });
});

describe('an end', () => {
  it('of the batch aborts its lines and no others, which then have no result', async () => {
    const other = batchId;
    let waiting = 0;
    const reasons: unknown[] = [];
    const worker = await startWorker(async ({ signal, job }) => {
      waiting += 1;
      await Promise.race([untilAborted(signal), until(() => reasons.length === 2)]).catch(
        (error: unknown) => {
          reasons.push(error);
          throw error;
        },
      );
      return completion(job.batchId);
    });
    await enqueue([0]);
    batchId = createBatchId();
    await batches.create({
      ...{ id: batchId, tenantId: 't', endpoint: '/v1/chat/completions', inputFileId: 'file-in' },
      ...{ completionWindow: '24h', windowSeconds: 3600, outputLifeSeconds: 60 },
    });
    await batches.start(batchId, { total: 2, model: 'm' });
    await enqueue([0, 1]);
    await until(() => waiting === 3);
    await batches.cancel('t', batchId);
    await publishControl(redis, { type: 'batch-end', batchId });
    await until(() => worker.activeCount === 0);
    expect(reasons).toHaveLength(2);
    expect(await batches.results(batchId, [0, 1])).toEqual([undefined, undefined]);
    expect(await batches.results(other, [0])).toEqual([completion(other).result]);
    await until(isQueueEmpty);
  });

  it('that was not heard: what a line has made is deleted', async () => {
    await startWorker(async (context) => {
      const outcome = await speak(context);
      await batches.close(batchId);
      return outcome;
    });
    await enqueue([0]);
    await until(async () => (await counted('dropped')) === 1);
    expect(await bytesOf(lineFileId(batchId, 0))).toBeUndefined();
    expect(await files.get('t', lineFileId(batchId, 0))).toBeUndefined();
  });

  it('after an earlier run of the line: what that made stays', async () => {
    await startWorker(async (context) => {
      await batches.record(batchId, 0, await speak(context));
      await batches.close(batchId);
      return speak(context);
    });
    await enqueue([0]);
    await until(async () => (await counted('dropped')) === 1);
    expect(await bytesOf(lineFileId(batchId, 0))).toBe('sound');
  });

  it('of the time for a line is a failure that is tried again; waiting for a turn costs none', async () => {
    const share = new EngineShare({ concurrency: 1, sharePercent: 100 });
    let isWaiting = false;
    let runs = 0;
    await startWorker(
      async ({ job, takeTurn, signal }) => {
        if (job.line !== 0) {
          runs += 1;
          return runs === 2 && job.line === 2 ? completion() : untilAborted(signal);
        }
        isWaiting = true;
        await takeTurn();
        return completion();
      },
      { share, totalMs: 200 },
    );
    const turn = await share.takeTurn(new AbortController().signal);
    await enqueue([0]);
    await until(() => isWaiting);
    // Line 0 waits for longer than the others may take.
    await enqueue([2]);
    expect(await resultOf(2)).toEqual(completion().result);
    await enqueue([1]);
    const error = { code: 'stream_timeout', message: 'The line took longer than 0.2 s.' };
    expect(await resultOf(1)).toEqual({ type: 'error', error });
    expect(runs).toBe(2 + 3);
    turn();
    expect(await resultOf(0)).toEqual(completion().result);
  });
});

describe('a shutdown', () => {
  it('lets what has begun end, and gives the rest to another worker at once', async () => {
    const share = new EngineShare({ concurrency: 1, sharePercent: 100 });
    const end = Promise.withResolvers<void>();
    const begun: number[] = [];
    const first = await startWorker(
      async ({ job, takeTurn }) => {
        await takeTurn();
        begun.push(job.line);
        await end.promise;
        return completion('first');
      },
      { share },
    );
    await enqueue([0, 1, 2, 3, 4]);
    await until(() => first.activeCount === 3 && begun.length === 1);
    const closed = first.close(5000);
    await startWorker(async () => completion('second'));
    for (const line of [1, 2, 3, 4])
      expect(await resultOf(line)).toEqual(completion('second').result);
    expect(first.activeCount).toBe(1);
    end.resolve();
    await closed;
    expect(await resultOf(0)).toEqual(completion('first').result);
    expect(await counted('returned')).toBe(2);
  });

  it('takes lines back that do not end in time, and costs them no try', async () => {
    const first = await startWorker(async ({ takeTurn, signal }) => {
      await takeTurn();
      return untilAborted(signal);
    });
    await enqueue([0, 1], { attempts: 1 });
    await until(() => first.activeCount === 2);
    await first.close(50);
    expect(first.activeCount).toBe(0);
    expect(await queue.getWaitingCount()).toBe(2);
    await startWorker(async () => completion());
    expect(await resultOf(1)).toEqual(completion().result);
    expect(await resultOf(0)).toEqual(completion().result);
  });

  it('of the engine under a line, and a handler that does not heed, are the same', async () => {
    const first = await startWorker(async ({ job, takeTurn }) => {
      await takeTurn();
      if (job.line === 0) throw new VoiceError('server_shutting_down');
      return new Promise(() => undefined);
    });
    await enqueue([0, 1], { attempts: 1 });
    await until(async () => (await counted('returned')) >= 1);
    await first.close(20);
    expect(await queue.getWaitingCount()).toBe(2);
  });
});

describe('a worker', () => {
  it('that dies in the middle: its lines run elsewhere, ten times at most', async () => {
    let runs = 0;
    await startWorker(async () => {
      runs += 1;
      return completion();
    });
    await workers[0]?.close(0);
    await enqueue([0, 1]);
    for (const line of [0, 1]) {
      const key = `bull:${queue.name}:${batchLineJobId(batchId, line)}`;
      await redis.hset(key, 'stc', 10 + line);
    }
    await startWorker(async () => {
      runs += 1;
      return completion();
    });
    expect(await resultOf(0)).toEqual(completion().result);
    expect(await resultOf(1)).toMatchObject({
      error: {
        code: 'engine_failed',
        message: '11 workers stopped while they worked on this line.',
      },
    });
    expect(runs).toBe(1);
  });

  it('that loses its locks writes nothing more, and another one does its lines', async () => {
    const proxy = await startTcpProxy(server.port);
    try {
      const reasons: unknown[] = [];
      let begun = 0;
      const cutOff = await startWorker(
        async ({ signal, takeTurn }) => {
          await takeTurn();
          begun += 1;
          return untilAborted(signal).catch((error: unknown) => {
            reasons.push(error);
            return completion('late');
          });
        },
        { url: `redis://127.0.0.1:${proxy.port}` },
      );
      await enqueue([0, 1]);
      await until(() => begun === 2);
      proxy.setMode({ type: 'blackhole' });
      await startWorker(async () => completion('other'));
      for (const line of [0, 1]) expect(await resultOf(line)).toEqual(completion('other').result);
      proxy.setMode({ type: 'pass' });
      await until(() => reasons.length === 2);
      await until(() => cutOff.activeCount === 0);
      expect(reasons.map(String)).toEqual(Array(2).fill('LineAborted: line aborted: lock-lost'));
      expect(await batches.results(batchId, [0, 1])).toEqual([
        completion('other').result,
        completion('other').result,
      ]);
      expect(await batches.get('t', batchId)).toMatchObject({ completed: 2, failed: 0 });
      expect(await counted('done')).toBe(0);
      await until(isQueueEmpty);
    } finally {
      proxy.resetAll();
      await Promise.all(workers.map((worker) => worker.close(0)));
      for (const connection of connections) connection.disconnect();
      await proxy.close();
    }
  });

  it('whose Redis is killed and comes back has every line once', async () => {
    const lines = Array.from({ length: 40 }, (_, line) => line);
    let runs = 0;
    await startWorker(async ({ job, takeTurn }) => {
      const release = await takeTurn();
      runs += 1;
      if (runs === 10) {
        await server.kill();
        await server.restart();
      }
      release();
      return completion(`{"line":${job.line}}`);
    });
    await enqueue(lines);
    await until(async () => (await batches.get('t', batchId))?.completed === lines.length, {
      timeoutMs: 10_000,
    });
    expect(await batches.results(batchId, lines)).toEqual(
      lines.map((line) => completion(`{"line":${line}}`).result),
    );
    expect(await batches.get('t', batchId)).toMatchObject({ completed: 40, failed: 0 });
    await until(isQueueEmpty);
  });
});
