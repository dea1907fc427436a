import { type RedisServer, freePort, startRedis } from '@antiphon/testing/redis';
import { PATIENCE, until } from '@antiphon/testing/until';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { defineEngine } from '../services/define-engine.ts';
import { createEngine, startStageWorker, workerConfig } from './stage-worker.ts';
import { openRedis } from './redis.ts';
import { readWorkers } from './worker-registry.ts';

const logger = pino({ level: 'silent' });
let server: RedisServer;
let redis: ReturnType<typeof openRedis>;

beforeAll(async () => {
  server = await startRedis();
  redis = openRedis(server.url, { role: 'patient', onError: () => undefined });
});
afterAll(async () => {
  redis.disconnect();
  await server.close();
});

describe('the chosen engine', () => {
  const engines = {
    demo: defineEngine({
      description: 'x',
      defaultConcurrency: 7,
      config: z.object({ DEMO_SPEED: z.string().default('slow') }),
      create: async ({ DEMO_SPEED }, { concurrency }) => ({ DEMO_SPEED, concurrency }),
    }),
  };
  const create = (name: string, environment: NodeJS.ProcessEnv = {}, CONCURRENCY = 0) =>
    createEngine(engines, { name, variable: 'AI_SERVICE' }, environment, { CONCURRENCY, logger });

  it('reads its own variables; an empty one counts as left out', async () => {
    expect(await create('demo', { DEMO_SPEED: '' })).toEqual({
      service: { DEMO_SPEED: 'slow', concurrency: 7 },
      concurrency: 7,
    });
    expect(await create('demo', { DEMO_SPEED: 'fast' }, 3)).toEqual({
      service: { DEMO_SPEED: 'fast', concurrency: 3 },
      concurrency: 3,
    });
  });

  it.each(['dmo', 'toString'])('that is unknown (%s) names the known ones', async (name) => {
    await expect(create(name)).rejects.toMatchObject({
      lines: [`AI_SERVICE: unknown engine '${name}'; known: demo`],
    });
  });
});

describe('a stage worker', () => {
  const start = async (
    announce: (signal: AbortSignal) => Promise<{ models: string[] }>,
    redisUrl = server.url,
  ) => {
    const healthPort = await freePort();
    const config = z
      .object(workerConfig)
      .parse({ REDIS_URL: redisUrl, HEALTH_PORT: `${healthPort}`, SHUTDOWN_DRAIN_MS: '200' });
    let engineClosed = 0;
    const running = await startStageWorker({
      ...{ stage: 'llm', kind: 'chat', engineName: 'demo', concurrency: 1 },
      ...{ config, announce, logger },
      createHandler: () => async () => undefined,
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
    expect(await readWorkers(redis)).toMatchObject([{ queueName: 'llm-demo', live: true }]);
    const metrics = await (await fetch(`http://127.0.0.1:${healthPort}/metrics`)).text();
    for (const line of [
      'antiphon_jobs_active{queue="llm-demo"} 0',
      'antiphon_jobs_total{queue="llm-demo",result="failed"} 0',
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
