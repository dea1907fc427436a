import type { Handler } from 'hono';
import type { GatewayContext, GatewayEnv } from '../gateway-context.ts';

/** `GET /metrics`: this gateway's, as Prometheus reads them. */
export const metricsText =
  ({ metrics }: GatewayContext): Handler<GatewayEnv> =>
  async (c) =>
    c.body(await metrics.registry.metrics(), 200, { 'content-type': metrics.registry.contentType });
