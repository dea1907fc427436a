import { openRedis, whenReady } from '@antiphon/shared/queue/redis';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { until } from '@antiphon/testing/until';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { NO_LIMITS } from './key-list.ts';
import { LimitStore } from './limit-store.ts';
import { QueueDepths } from './queue-depths.ts';
import { RateLimits } from './rate-limits.ts';
import { StreamAdmission } from './stream-admission.ts';
import { StreamSlots } from './stream-slots.ts';

let server: RedisServer;
let redis: ReturnType<typeof openRedis>;
let rates: RateLimits;
let admission: StreamAdmission;

beforeEach(async () => {
  server = await startRedis();
  const onError = () => undefined;
  redis = openRedis(server.url, { role: 'command', onError });
  await whenReady(redis);
  const store = new LimitStore(redis, onError);
  const streams = () => [];
  const directory = { workersOf: () => [] };
  rates = new RateLimits(store);
  admission = new StreamAdmission({
    ...{ streams, rates, slots: new StreamSlots(store, onError) },
    depths: new QueueDepths({ redis, directory, streams, maxDepth: 0, onError }),
  });
});
afterEach(async () => {
  admission.close();
  redis.disconnect();
  await server.close();
});

it('frees the place of a stream that was over before its reply began', async () => {
  const admit = (requestId: string) =>
    admission.admit(
      { tenantId: 'alice', limits: { ...NO_LIMITS, streams: 1 }, requestId },
      { route: { queues: { llm: 'llm-x' }, firstStage: 'llm' }, opening: { kind: 'chat' } },
    );
  const leave = await admit('r1');
  leave.bind('s1');
  leave.settle();
  await expect(admit('r2')).rejects.toMatchObject({ code: 'rate_limit_exceeded' });
  await until(() =>
    admit('r3').then(
      () => true,
      () => false,
    ),
  );
});

it('gives characters back where no stream was opened', async () => {
  const used = async () => (await rates.look('characters', 'alice', 100)).used;
  const admit = (requestId: string) =>
    admission.admit(
      { tenantId: 'alice', limits: { ...NO_LIMITS, charactersPerMinute: 100 }, requestId },
      {
        ...{ route: { queues: { tts: 'tts-x' }, firstStage: 'tts' }, opening: { kind: 'speech' } },
        characters: 60,
      },
    );
  const opened = await admit('r1');
  opened.bind('s1');
  opened.settle();
  await expect(admit('r2')).rejects.toMatchObject({ code: 'rate_limit_exceeded' });
  expect(await used()).toBe(60);
  await redis.flushall();
  (await admit('r3')).settle();
  await until(async () => (await used()) === 0);
});
