import { openRedis, whenReady } from '@antiphon/shared/queue/redis';
import { startRedis } from '@antiphon/testing/redis';
import { until } from '@antiphon/testing/until';
import { expect, it } from 'vitest';
import { NO_LIMITS } from './key-list.ts';
import { LimitStore } from './limit-store.ts';
import { QueueDepths } from './queue-depths.ts';
import { RateLimits } from './rate-limits.ts';
import { StreamAdmission } from './stream-admission.ts';
import { StreamSlots } from './stream-slots.ts';

it('frees the place of a stream that was over before its reply began', async () => {
  const server = await startRedis();
  const onError = () => undefined;
  const redis = openRedis(server.url, { role: 'command', onError });
  await whenReady(redis);
  const store = new LimitStore(redis, onError);
  const streams = () => [];
  const directory = { workersOf: () => [] };
  const admission = new StreamAdmission({
    ...{ streams, rates: new RateLimits(store), slots: new StreamSlots(store, onError) },
    depths: new QueueDepths({ redis, directory, streams, maxDepth: 0, onError }),
  });
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
  admission.close();
  redis.disconnect();
  await server.close();
});
