import { logContext } from '@antiphon/shared/runtime/log-context';
import type { Logger } from '@antiphon/shared/runtime/logger';
import { createMiddleware } from 'hono/factory';
import type { GatewayEnv } from '../gateway-context.ts';

/** One line per request, when its answer has ended; without query, headers or body. */
export const requestLog = (logger: Logger) =>
  createMiddleware<GatewayEnv>(async (c, next) => {
    const startedMs = performance.now();
    c.set('receivedAtMs', startedMs);
    const { outgoing } = c.env;
    const { method, path } = c.req;
    const context = logContext(); // tenant and stream come into it later
    outgoing.once('close', () => {
      const ms = Math.round(performance.now() - startedMs);
      const complete = outgoing.writableFinished;
      const retried = c.req.header('x-stainless-retry-count');
      logger.info(
        {
          ...context,
          ...{ method, path, status: outgoing.statusCode, ms, complete },
          ...(retried !== undefined && retried !== '0' ? { retried } : {}),
        },
        'request',
      );
    });
    await next();
  });
