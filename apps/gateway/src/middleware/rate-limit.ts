import type { Context, MiddlewareHandler } from 'hono';
import type { GatewayEnv } from '../gateway-context.ts';
import { limitHeaders, rateLimited } from '../tenants/limit-reached.ts';
import type { RateLimits } from '../tenants/rate-limits.ts';

/** What opens nothing but streams, which wait for the count while they are admitted. */
const OPENS_STREAM = new Set([
  ...['/v1/chat/completions', '/v1/audio/speech', '/api/openai'],
  ...['/v1/audio/transcriptions', '/v1/audio/translations'],
]);
/** A longer body is not read in vain; it takes longer than the count. */
const SHORT_BODY_BYTES = 65_536;

/**
 * Counts each request of a key that has a limit, and tells it what is left. Before its body is read,
 * but for a short one that is to open a stream: its count and its place then cost one round trip.
 */
export function rateLimit(rates: RateLimits): MiddlewareHandler<GatewayEnv> {
  return async (c, next) => {
    if (c.get('limits').requestsPerMinute === 0) return next();
    const counted = count(c, rates);
    if (maySettleLater(c)) {
      counted.catch(() => undefined); // awaited below at the latest
      c.set('counted', counted);
    } else await counted;
    await next();
    await counted;
  };
}

/** Throws `rate_limit_exceeded`. Headers on the response itself: streams write their own heads. */
async function count(c: Context<GatewayEnv>, rates: RateLimits): Promise<void> {
  const limit = c.get('limits').requestsPerMinute;
  const usage = await rates.use('requests', c.get('tenantId'), 1, limit);
  const { outgoing } = c.env;
  if (outgoing.headersSent) return; // its client left
  for (const [name, value] of Object.entries(limitHeaders('requests', usage)))
    outgoing.setHeader(name, value);
  // What is refused is counted, and not told: the limit is what was used.
  if (usage.used > limit) throw rateLimited('requests', { ...usage, used: limit }, 1);
}

/** A key without a limit of streams has no other round trip; an `Idempotency-Key` may have an answer. */
function maySettleLater(c: Context<GatewayEnv>): boolean {
  const { headers } = c.env.incoming;
  const bytes = Number(headers['content-length'] ?? Infinity);
  return (
    c.get('limits').streams > 0 &&
    c.req.method === 'POST' &&
    OPENS_STREAM.has(c.req.path) &&
    headers['idempotency-key'] === undefined &&
    bytes <= SHORT_BODY_BYTES
  );
}
