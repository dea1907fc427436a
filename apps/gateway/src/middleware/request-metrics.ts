import { createMiddleware } from 'hono/factory';
import { matchedRoutes } from 'hono/route';
import type { GatewayEnv } from '../gateway-context.ts';
import type { GatewayMetrics } from '../metrics/gateway-metrics.ts';

/** As proxies call it: nobody was there to be answered. */
const CLIENT_LEFT = 499;

/** Counts each request when its answer has ended, by the pattern of its route. */
export const requestMetrics = (metrics: GatewayMetrics) =>
  createMiddleware<GatewayEnv>(async (c, next) => {
    const { outgoing } = c.env;
    const { method } = c.req;
    outgoing.once('close', () => {
      const route = matchedRoutes(c).findLast((matched) => matched.method !== 'ALL');
      const status = outgoing.headersSent ? outgoing.statusCode : CLIENT_LEFT;
      metrics.request(method, route?.path ?? 'unknown', status);
    });
    await next();
  });
