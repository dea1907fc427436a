import type { GatewayConfig } from './config.ts';
import { GatewayMetrics } from './metrics/gateway-metrics.ts';
import { StreamWatch, type WatchOptions } from './replies/stream-watch.ts';

/** The watch over this gateway's streams, and the metrics that count them. */
export function openWatch(
  { LOCK_DURATION_MS, STALLED_INTERVAL_MS }: GatewayConfig,
  given: Pick<WatchOptions, 'log' | 'directory' | 'logger'>,
): { watch: StreamWatch; metrics: GatewayMetrics } {
  const metrics = new GatewayMetrics();
  const watch = new StreamWatch({
    ...given,
    reclaimMs: LOCK_DURATION_MS + STALLED_INTERVAL_MS + 1000,
    onOver: (stream) => metrics.stream(stream),
  });
  metrics.gaugeStreams(() => watch.streams.size);
  return { watch, metrics };
}
