import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { until } from '@antiphon/testing/until';
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { subscribeControl } from '../streams/control-channel.ts';
import { redisNowMs } from '../streams/redis-clock.ts';
import { WORKERS_KEY, workerKey } from '../streams/stream-key.ts';
import type { ScriptedRedis } from '../streams/stream-scripts.ts';
import { type Announced, Announcer } from './announcer.ts';
import { openRedis } from './redis.ts';
import {
  LIVE_MS,
  type WorkerAnnouncement,
  WorkerHeartbeat,
  readWorkers,
} from './worker-registry.ts';

let server: RedisServer;
let redis: ScriptedRedis;
let subscriber: ScriptedRedis;
let changes = 0;

const ignore = () => undefined;
const identity = {
  ...{ version: 1 as const, workerId: 'w1', stage: 'tts' as const, engine: 'flite' },
  ...{ queueName: 'tts-flite', concurrency: 2, startedAtSeconds: 1 },
};
const announcement: WorkerAnnouncement = { ...identity, models: ['tts-1'] };
const heartbeats: WorkerHeartbeat[] = [];

beforeAll(async () => {
  server = await startRedis();
  redis = openRedis(server.url, { role: 'patient', onError: ignore });
  subscriber = openRedis(server.url, { role: 'subscriber', onError: ignore });
  await subscribeControl(subscriber, ({ type }) => {
    if (type === 'worker-change') changes += 1;
  });
});
beforeEach(() => {
  changes = 0;
});
afterEach(async () => {
  for (const heartbeat of heartbeats.splice(0)) await heartbeat.leave();
  await redis.flushall();
});
afterAll(async () => {
  redis.disconnect();
  subscriber.disconnect();
  await server.close();
});

function createHeartbeat(workerId = 'w1'): WorkerHeartbeat {
  const heartbeat = new WorkerHeartbeat(redis, () => ({ ...announcement, workerId }), ignore);
  heartbeats.push(heartbeat);
  return heartbeat;
}

describe('a worker', () => {
  it('is live from its first heartbeat on, and the gateways are told', async () => {
    expect(await readWorkers(redis)).toEqual([]);
    await createHeartbeat().start();
    expect(await readWorkers(redis)).toEqual([{ ...announcement, alive: true, live: true }]);
    await until(() => changes === 1);
  });

  it('stays live by its heartbeats', async () => {
    await createHeartbeat().start();
    const seen = async () => Number(await redis.zscore(WORKERS_KEY, 'w1'));
    const first = await seen();
    await until(async () => (await seen()) > first);
    expect((await readWorkers(redis))[0]).toMatchObject({ live: true });
  });

  it.each([
    [LIVE_MS - 1500, true],
    [LIVE_MS + 1, false],
    [86_000_000, false],
  ])('last seen %i ms ago: live is %s, and its models are known', async (ageMs, live) => {
    await redis.set(workerKey('w1'), JSON.stringify(announcement));
    await redis.zadd(WORKERS_KEY, (await redisNowMs(redis)) - ageMs, 'w1');
    expect(await readWorkers(redis)).toMatchObject([{ live, alive: live, models: ['tts-1'] }]);
  });

  it('is forgotten after a day', async () => {
    await redis.set(workerKey('w1'), JSON.stringify(announcement));
    await redis.zadd(WORKERS_KEY, (await redisNowMs(redis)) - 86_500_000, 'w1');
    expect(await readWorkers(redis)).toEqual([]);
    expect(await redis.zcard(WORKERS_KEY)).toBe(0);
  });

  it('that is draining is alive and takes nothing', async () => {
    const heartbeat = createHeartbeat();
    await heartbeat.start();
    await heartbeat.drain();
    expect(await readWorkers(redis)).toMatchObject([{ alive: true, live: false, draining: true }]);
    await until(() => changes === 2);
  });

  it('that left is dead at once and its models are known', async () => {
    const heartbeat = createHeartbeat();
    await heartbeat.start();
    await heartbeat.leave();
    expect(await readWorkers(redis)).toMatchObject([{ alive: false, models: ['tts-1'] }]);
    await until(() => changes === 2);
  });

  it('of another version is passed over, and others are not', async () => {
    await redis.set(workerKey('w2'), JSON.stringify({ ...announcement, version: 2 }));
    await redis.zadd(WORKERS_KEY, await redisNowMs(redis), 'w2', await redisNowMs(redis), 'w3');
    await createHeartbeat().start();
    expect((await readWorkers(redis)).map(({ workerId }) => workerId)).toEqual(['w1']);
  });
});

it('goes by Redis’ clock, whatever the clocks of the hosts say', async () => {
  await createHeartbeat().start();
  const [seconds] = await redis.time();
  const seenMs = Number(await redis.zscore(WORKERS_KEY, 'w1'));
  expect(Math.abs(Number(seconds) * 1000 - seenMs)).toBeLessThan(3000);
});

describe('the announcer', () => {
  const create = (announce: (signal: AbortSignal) => Promise<Announced>) =>
    new Announcer({ announce, redis, logger: pino({ level: 'silent' }), identity });

  it('asks an engine that is not up again, and only then takes jobs and announces', async () => {
    let asked = 0;
    const order: string[] = [];
    const announcer = create(async () => {
      asked += 1;
      if (asked === 1) throw new Error('connection refused');
      order.push('answered');
      return { models: ['m'] };
    });
    const started = announcer.start(async () => {
      order.push(`jobs, ${(await readWorkers(redis)).length} known`);
    });
    await until(() => asked === 1);
    expect(announcer.announced).toBe(false);
    await started;
    expect(order).toEqual(['answered', 'jobs, 0 known']);
    expect(announcer.announced).toBe(true);
    expect(await readWorkers(redis)).toMatchObject([{ models: ['m'], live: true }]);
    await announcer.drain();
    await announcer.leave();
    expect(announcer.announced).toBe(false);
  });

  it('that is drained while it asks takes no jobs, and tells the engine', async () => {
    let signalled = false;
    let jobs = 0;
    const announcer = create(
      (signal) =>
        new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () => {
            signalled = true;
            reject(signal.reason as Error);
          });
        }),
    );
    const started = announcer.start(async () => {
      jobs += 1;
    });
    await announcer.drain();
    await started;
    await announcer.leave();
    expect([signalled, jobs, announcer.announced]).toEqual([true, 0, false]);
    expect(await readWorkers(redis)).toEqual([]);
  });
});
