import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type RedisServer, freePort, startRedis } from '@antiphon/testing/redis';
import { PATIENCE, until } from '@antiphon/testing/until';
import { Queue } from 'bullmq';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { createBatchId } from '../batches/batch-key.ts';
import { BatchStore } from '../batches/batch-store.ts';
import { BATCH_LINE_JOB_OPTIONS } from '../jobs/batch-line-job.ts';
import { startStageWorker, workerConfig } from './stage-worker.ts';
import { openRedis } from './redis.ts';
import { readWorkers } from './worker-registry.ts';

const logger = pino({ level: 'silent' });
let server: RedisServer;
let redis: ReturnType<typeof openRedis>;
let dataDir: string;

beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'antiphon-stage-'));
  server = await startRedis();
  redis = openRedis(server.url, { role: 'patient', onError: () => undefined });
});
afterAll(async () => {
  redis.disconnect();
  await server.close();
  await rm(dataDir, { recursive: true });
});

describe('a stage worker', () => {
  const start = async (
    announce: (signal: AbortSignal) => Promise<{ models: string[] }>,
    redisUrl = server.url,
    environment: NodeJS.ProcessEnv = {},
  ) => {
    const healthPort = await freePort();
    const config = z.object(workerConfig).parse({
      ...{ REDIS_URL: redisUrl, HEALTH_PORT: `${healthPort}`, SHUTDOWN_DRAIN_MS: '200' },
      ...{ DATA_DIR: dataDir, ...environment },
    });
    let engineClosed = 0;
    const running = await startStageWorker({
      ...{ stage: 'llm', kind: 'chat', engineName: 'demo', engineRank: 1, concurrency: 1 },
      ...{ config, announce, logger },
      createHandler: () => async () => undefined,
      createLineHandler: () => async () => ({ result: { type: 'completion', body: '{}' } }),
      closeEngine: async () => {
        engineClosed += 1;
      },
    });
    const ready = async () =>
      (await fetch(`http://127.0.0.1:${healthPort}/health/ready`)).status === 200;
    return { running, ready, closed: () => engineClosed, healthPort };
  };
  const clients = async () => String(await redis.client('LIST')).split('\n').length;

  it('is announced when its engine answers, and leaves nothing open', async () => {
    const before = await clients();
    const { running, ready, closed, healthPort } = await start(async () => ({ models: ['m'] }));
    await until(ready);
    expect(await readWorkers(redis)).toMatchObject([
      { queueName: 'llm-demo', engineRank: 1, live: true },
    ]);
    const metrics = await (await fetch(`http://127.0.0.1:${healthPort}/metrics`)).text();
    for (const line of [
      'antiphon_jobs_active{queue="llm-demo"} 0',
      'antiphon_jobs_total{queue="llm-demo",result="failed"} 0',
      'antiphon_batch_lines_total{queue="llm-demo-batch",result="done"} 0',
      'antiphon_redis_reconnects_total{connection="subscriber"} 0',
      'nodejs_eventloop_lag_seconds ',
      'process_resident_memory_bytes ',
    ]) {
      expect(metrics).toContain(line);
    }
    await running.close();
    expect(closed()).toBe(1);
    expect(await readWorkers(redis)).toMatchObject([{ live: false }]);
    await expect(fetch(`http://127.0.0.1:${healthPort}/health/live`)).rejects.toThrow(
      'fetch failed',
    );
    await until(async () => (await clients()) === before);
  });

  it('takes lines of batches for its engine, and none without a share', async () => {
    const before = await clients();
    const batches = new BatchStore(redis);
    const queue = new Queue('llm-demo-batch', { connection: redis });
    const batchId = createBatchId();
    await batches.create({
      ...{ id: batchId, tenantId: 't', endpoint: '/v1/chat/completions', inputFileId: 'file-in' },
      ...{ completionWindow: '24h', windowSeconds: 60, outputLifeSeconds: 60 },
    });
    await batches.start(batchId, { total: 1, model: 'm' });
    const work = { type: 'chat', choiceCount: 1, requestJson: '{}' };
    const line = { version: 1, batchId, line: 0, tenantId: 't', model: 'm', work };
    await queue.add('line', line, { jobId: 'line-0', ...BATCH_LINE_JOB_OPTIONS });
    const none = await start(async () => ({ models: ['m'] }), server.url, {
      BATCH_SHARE_PERCENT: '0',
    });
    await until(none.ready);
    const metrics = await (await fetch(`http://127.0.0.1:${none.healthPort}/metrics`)).text();
    expect(metrics).not.toContain('antiphon_batch_lines_total');
    await none.running.close();
    expect(await queue.getWaitingCount()).toBe(1);
    const { running } = await start(async () => ({ models: ['m'] }));
    await until(async () => (await batches.lineState(batchId, 0)) === 'done');
    await until(async () => (await queue.getJob('line-0')) === undefined);
    await running.close();
    await queue.close();
    await until(async () => (await clients()) === before);
  });

  it('closes although its engine never answered', async () => {
    const before = await clients();
    const { running, ready, closed } = await start(
      (signal) =>
        new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () => reject(signal.reason as Error));
        }),
    );
    expect(await ready()).toBe(false);
    await running.close();
    expect(closed()).toBe(1);
    await until(async () => (await clients()) === before);
  });

  it('closes in time although Redis is away', async () => {
    const away = await startRedis();
    try {
      const { running, ready, closed } = await start(async () => ({ models: ['m'] }), away.url);
      await until(ready);
      await away.kill();
      const startedMs = performance.now();
      await running.close();
      expect(performance.now() - startedMs).toBeLessThan(2200 * PATIENCE);
      expect(closed()).toBe(1);
    } finally {
      await away.close();
    }
  });

  it('is not ready from the moment on in which it is told to stop', async () => {
    const { running, ready } = await start(async () => ({ models: ['m'] }));
    await until(ready);
    const closing = running.close();
    expect(await ready().catch(() => false)).toBe(false);
    await closing;
  });
});
