import { createLogger } from '@antiphon/shared/runtime/logger';
import { until } from '@antiphon/testing/until';
import { expect, it } from 'vitest';
import { reportDrops } from './dropped-connections.ts';
import { GatewayMetrics } from './gateway-metrics.ts';

it('counts every drop, and logs the first and how many came after it', async () => {
  const metrics = new GatewayMetrics();
  const lines: unknown[] = [];
  const logger = createLogger('gateway', 'silent');
  logger.warn = (line: unknown) => lines.push(line);
  const drop = reportDrops(metrics, logger, 50);
  for (let count = 0; count < 100; count += 1) drop();
  expect(lines).toEqual([{ connectionCount: 1 }]);
  await until(() => lines.length === 2);
  expect(lines[1]).toEqual({ connectionCount: 99 });
  expect(await metrics.registry.metrics()).toContain('antiphon_connections_dropped_total 100');
});
