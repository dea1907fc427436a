import type { Redis } from 'ioredis';
import type { GatewayConfig } from './config.ts';
import type { GatewayContext } from './gateway-context.ts';
import { GatewayMetrics } from './metrics/gateway-metrics.ts';
import { StreamWatch, type WatchOptions } from './replies/stream-watch.ts';
import { LimitStore } from './tenants/limit-store.ts';
import { QueueDepths } from './tenants/queue-depths.ts';
import { RateLimits } from './tenants/rate-limits.ts';
import { StreamAdmission } from './tenants/stream-admission.ts';
import { StreamSlots } from './tenants/stream-slots.ts';

type Counted = Pick<
  GatewayContext,
  'watch' | 'metrics' | 'rates' | 'admission' | 'depths' | 'queueRedis'
>;

/** The watch over this gateway's streams, and who counts them: the metrics, and their tenants' limits. */
export function openWatch(
  { LOCK_DURATION_MS, STALLED_INTERVAL_MS, MAX_QUEUE_DEPTH: maxDepth }: GatewayConfig,
  { queue: queueRedis, stream: streamRedis }: { queue: Redis; stream: Redis },
  given: Pick<WatchOptions, 'log' | 'directory' | 'logger'>,
): Counted {
  const metrics = new GatewayMetrics();
  const onError = (error: Error) => given.logger.warn({ err: error }, 'limits');
  const store = new LimitStore(streamRedis, onError);
  const rates = new RateLimits(store);
  const slots = new StreamSlots(store, onError);
  const streams = () => watch.streams;
  const { directory } = given;
  const depths = new QueueDepths({ redis: queueRedis, directory, streams, maxDepth, onError });
  const admission = new StreamAdmission({ rates, slots, depths, streams });
  const watch: StreamWatch = new StreamWatch({
    ...given,
    reclaimMs: LOCK_DURATION_MS + STALLED_INTERVAL_MS + 1000,
    onOver(stream) {
      metrics.stream(stream);
      admission.over(stream);
    },
  });
  metrics.gaugeStreams(() => watch.streams.size);
  return { watch, metrics, rates, admission, depths, queueRedis };
}
