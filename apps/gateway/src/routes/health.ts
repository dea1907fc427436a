import { STAGES } from '@antiphon/shared/jobs/job-catalog';
import type { Handler } from 'hono';
import type { GatewayContext, GatewayEnv } from '../gateway-context.ts';

function readiness({ redisReady, directory, accepting }: GatewayContext) {
  const stages = Object.fromEntries(STAGES.map((stage) => [stage, directory.hasLive(stage)]));
  const redis = redisReady();
  const ready = accepting() && redis && Object.values(stages).every(Boolean);
  return { ready, redis, stages, accepting: accepting() };
}

/** `GET /health/live`: the process answers. */
export const live: Handler<GatewayEnv> = (c) => c.json({ status: 'ok' });

/**
 * `GET /health/ready`: Redis answered within 3 s and every stage has a live worker; else 503 with
 * what lacks.
 */
export const ready =
  (context: GatewayContext): Handler<GatewayEnv> =>
  (c) => {
    const { ready: isReady, ...parts } = readiness(context);
    return c.json({ status: isReady ? 'ok' : 'unavailable', ...parts }, isReady ? 200 : 503);
  };

/** `GET /health`: the same picture, always 200 while the process answers. */
export const health =
  (context: GatewayContext): Handler<GatewayEnv> =>
  (c) => {
    const { ready: isReady, ...parts } = readiness(context);
    return c.json({ status: isReady ? 'ok' : 'degraded', ...parts });
  };
