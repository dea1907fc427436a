import type { MiddlewareHandler } from 'hono';
import type { GatewayEnv } from '../gateway-context.ts';
import { type RateLimits, goDuration, rateLimited } from '../tenants/rate-limits.ts';

/**
 * Counts each request of a key that has a limit, before its body is read, and tells it what is
 * left. On the response itself: streams write their own heads.
 */
export function rateLimit(rates: RateLimits): MiddlewareHandler<GatewayEnv> {
  return async (c, next) => {
    const limit = c.get('limits').requestsPerMinute;
    if (limit > 0) {
      const usage = await rates.use('requests', c.get('tenantId'), 1, limit);
      const { outgoing } = c.env;
      outgoing.setHeader('x-ratelimit-limit-requests', limit);
      outgoing.setHeader('x-ratelimit-remaining-requests', Math.max(0, limit - usage.used));
      outgoing.setHeader('x-ratelimit-reset-requests', goDuration(usage.resetMs));
      // What is refused is counted, and not told: the limit is what was used.
      if (usage.used > limit) throw rateLimited('requests', { ...usage, used: limit }, 1);
    }
    await next();
  };
}
