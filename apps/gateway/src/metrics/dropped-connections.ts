import type { Logger } from '@antiphon/shared/runtime/logger';
import type { GatewayMetrics } from './gateway-metrics.ts';

/** A flood of clients is no flood of log lines. */
const QUIET_MS = 10_000;

/** Counts each connection that was dropped, and tells of the first and then of those since. */
export function reportDrops(
  metrics: GatewayMetrics,
  logger: Logger,
  quietMs = QUIET_MS,
): () => void {
  let untold = 0;
  let quiet: NodeJS.Timeout | undefined;
  const tell = () => {
    quiet = undefined;
    if (untold === 0) return;
    logger.warn({ connectionCount: untold }, 'connections dropped: MAX_CONNECTIONS are open');
    untold = 0;
    quiet = setTimeout(tell, quietMs).unref();
  };
  return () => {
    metrics.droppedConnection();
    untold += 1;
    if (quiet === undefined) tell();
  };
}
