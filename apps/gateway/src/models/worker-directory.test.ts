import { openRedis } from '@antiphon/shared/queue/redis';
import { type WorkerAnnouncement, WorkerHeartbeat } from '@antiphon/shared/queue/worker-registry';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { until } from '@antiphon/testing/until';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type DirectoryOptions, WorkerDirectory } from './worker-directory.ts';

let server: RedisServer;
let redis: ReturnType<typeof openRedis>;
const heartbeats: WorkerHeartbeat[] = [];

beforeAll(async () => {
  server = await startRedis();
  redis = openRedis(server.url, { role: 'patient', onError: () => undefined });
});
afterEach(async () => {
  for (const heartbeat of heartbeats.splice(0)) await heartbeat.leave();
  await redis.flushall();
});
afterAll(async () => {
  redis.disconnect();
  await server.close();
});

async function announce(engine: string, options: Partial<WorkerAnnouncement> = {}) {
  const heartbeat = new WorkerHeartbeat(
    redis,
    () => ({
      ...{ version: 1, workerId: `${engine}-1`, stage: 'llm', engine, queueName: `llm-${engine}` },
      ...{ models: [`${engine}-model`], concurrency: 1, startedAtSeconds: 1 },
      ...options,
    }),
    () => undefined,
  );
  heartbeats.push(heartbeat);
  await heartbeat.start();
  return heartbeat;
}

async function createDirectory(options: Partial<DirectoryOptions> = {}) {
  const directory = new WorkerDirectory(redis, {
    ...{ aliases: [], defaults: {}, onError: () => undefined },
    ...options,
  });
  await directory.refresh();
  return directory;
}

describe('a model', () => {
  it('leads to the queue of a worker that announces it', async () => {
    await announce('demo');
    await announce('openai');
    const directory = await createDirectory();
    const { model, worker } = await directory.resolve('llm', 'demo-model');
    expect([model, worker.queueName]).toEqual(['demo-model', 'llm-demo']);
  });

  it('is found by its alias', async () => {
    await announce('demo');
    const directory = await createDirectory({ aliases: ['gpt-x=demo-model'] });
    expect(await directory.resolve('llm', 'gpt-x')).toMatchObject({ model: 'demo-model' });
  });

  it('that is left out is the configured one, else that of the first engine by rank, then name', async () => {
    await announce('other');
    await announce('demo', { engineRank: 2 });
    await announce('real', { engineRank: 1 });
    await announce('remote', { engineRank: 1 });
    const first = await createDirectory();
    const engines = first.workersOf('llm').map(({ engine }) => engine);
    expect(engines).toEqual(['real', 'remote', 'demo', 'other']);
    expect(await first.resolve('llm', undefined)).toMatchObject({ model: 'real-model' });
    const configured = await createDirectory({ defaults: { llm: 'demo-model' } });
    expect(await configured.resolve('llm', undefined)).toMatchObject({ model: 'demo-model' });
  });

  it('that nobody knows is a 404 that lists the known ones', async () => {
    await announce('demo');
    const directory = await createDirectory({ aliases: ['gpt-x=demo-model'] });
    await expect(directory.resolve('llm', 'other')).rejects.toMatchObject({
      code: 'model_not_found',
      message: expect.stringContaining('Known here: demo-model, gpt-x') as string,
    });
  });

  it('of another stage is a 404', async () => {
    await announce('demo');
    const directory = await createDirectory();
    await expect(directory.resolve('tts', 'demo-model')).rejects.toMatchObject({
      code: 'model_not_found',
    });
  });

  it.each(['leave', 'drain'] as const)('whose only worker did %s is a 503', async (step) => {
    const heartbeat = await announce('demo');
    await heartbeat[step]();
    const directory = await createDirectory();
    for (const model of ['demo-model', undefined]) {
      await expect(directory.resolve('llm', model)).rejects.toMatchObject({
        code: 'server_is_overloaded',
        retryAfterSeconds: 2,
      });
    }
  });

  it('whose worker came just now is found', async () => {
    const directory = await createDirectory();
    await announce('demo');
    expect(await directory.resolve('llm', 'demo-model')).toMatchObject({ model: 'demo-model' });
  });

  it('goes to the live worker of several', async () => {
    const gone = await announce('demo', { workerId: 'w-gone', startedAtSeconds: 9 });
    await announce('demo', { workerId: 'w-live' });
    await gone.leave();
    const directory = await createDirectory();
    expect(directory.workersOf('llm')).toHaveLength(1);
    const { worker } = await directory.resolve('llm', 'demo-model');
    expect(worker.workerId).toBe('w-live');
    expect(directory.hasLive('llm')).toBe(true);
    expect(directory.hasLive('stt')).toBe(false);
  });
});

it('that cannot read the registry any more tells no stage served after a while', async () => {
  await announce('demo');
  const directory = await createDirectory();
  await directory.start();
  try {
    expect(directory.hasLive('llm')).toBe(true);
    await redis.set('antiphon:workers', 'not what it must be');
    await until(() => !directory.hasLive('llm'));
  } finally {
    directory.close();
    await redis.del('antiphon:workers');
  }
});

it('calls no model unknown, for what can wait, while the registry has only just come back', async () => {
  await announce('demo');
  const directory = await createDirectory();
  await expect(directory.remembered('llm', 'other')).rejects.toMatchObject({
    code: 'model_not_found',
  });
  await redis.set('antiphon:workers', 'not what it must be');
  await directory.refresh();
  await redis.del('antiphon:workers');
  await announce('demo'); // the worker with the other model has not been heard of again
  await directory.refresh();
  expect(await directory.remembered('llm', 'other')).toBeUndefined();
  expect(await directory.remembered('llm', 'demo-model')).toMatchObject({ model: 'demo-model' });
});

it('tells the living from the dead and from those it never heard of', async () => {
  const heartbeat = await announce('demo');
  const directory = await createDirectory();
  expect(directory.isAlive('demo-1')).toBe(true);
  expect(directory.isAlive('unheard')).toBeUndefined();
  await heartbeat.drain();
  await directory.refresh();
  expect(directory.isAlive('demo-1')).toBe(true); // it ends what it has
  await heartbeat.leave();
  await directory.refresh();
  expect(directory.isAlive('demo-1')).toBe(false);
});
