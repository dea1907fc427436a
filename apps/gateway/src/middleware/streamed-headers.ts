import { createMiddleware } from 'hono/factory';
import type { GatewayEnv } from '../gateway-context.ts';

const NAMES = [
  'access-control-allow-origin',
  'access-control-expose-headers',
  'access-control-allow-credentials',
];

/**
 * Behind `cors`: what it allows pages of other origins holds for streams too, which are written to
 * Node's response and would go out without it.
 */
export const streamedHeaders = createMiddleware<GatewayEnv>(async (c, next) => {
  for (const name of NAMES) {
    const value = c.res.headers.get(name);
    if (value !== null) c.env.outgoing.setHeader(name, value);
  }
  await next();
});
