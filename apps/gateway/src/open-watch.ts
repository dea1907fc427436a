import type { Redis } from 'ioredis';
import type { GatewayConfig } from './config.ts';
import type { GatewayContext } from './gateway-context.ts';
import { GatewayMetrics } from './metrics/gateway-metrics.ts';
import { StreamWatch, type WatchOptions } from './replies/stream-watch.ts';
import { RateLimits } from './tenants/rate-limits.ts';
import { StreamAdmission } from './tenants/stream-admission.ts';
import { StreamSlots } from './tenants/stream-slots.ts';

/** The watch over this gateway's streams, and who counts them: the metrics, and their tenants' limits. */
export function openWatch(
  { LOCK_DURATION_MS, STALLED_INTERVAL_MS }: GatewayConfig,
  redis: Redis,
  given: Pick<WatchOptions, 'log' | 'directory' | 'logger'>,
): Pick<GatewayContext, 'watch' | 'metrics' | 'rates' | 'admission'> {
  const metrics = new GatewayMetrics();
  const rates = new RateLimits(redis);
  const slots = new StreamSlots(redis, (error) => given.logger.warn({ err: error }, 'places'));
  const admission = new StreamAdmission({ rates, slots, streams: () => watch.streams });
  const watch: StreamWatch = new StreamWatch({
    ...given,
    reclaimMs: LOCK_DURATION_MS + STALLED_INTERVAL_MS + 1000,
    onOver(stream) {
      metrics.stream(stream);
      admission.over(stream);
    },
  });
  metrics.gaugeStreams(() => watch.streams.size);
  return { watch, metrics, rates, admission };
}
