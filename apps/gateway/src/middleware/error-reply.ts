import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { Logger } from '@antiphon/shared/runtime/logger';
import type { Context, ErrorHandler, Hono, NotFoundHandler } from 'hono';
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response';
import type { GatewayEnv } from '../gateway-context.ts';
import { ClientLeft } from '../replies/client-connection.ts';
import { LimitReached } from '../tenants/limit-reached.ts';

/** SDKs wait at most so long; JavaScript's ignores more, Python's then gives up. */
const MOST_RETRY_SECONDS = 60;
/** Never without `Retry-After`, but where no time helps. */
const TELLS_WHEN = new Set([429, 503]);

/** Renders any error in OpenAI's envelope: the one place that does. */
export function errorReply(logger: Logger): ErrorHandler<GatewayEnv> {
  return (thrown, c) => {
    if (thrown instanceof ClientLeft || c.env.outgoing.headersSent) {
      c.env.outgoing.destroy();
      return RESPONSE_ALREADY_SENT;
    }
    const error = VoiceError.from(thrown);
    const { status, retryable } = error.definition;
    if (status >= 500) {
      logger.warn(
        { err: thrown, requestId: c.get('requestId'), path: c.req.path },
        'request failed',
      );
    }
    c.header('x-should-retry', String(retryable));
    if (error instanceof LimitReached)
      for (const [name, value] of Object.entries(error.headers)) c.header(name, value);
    const wait = error.retryAfterSeconds ?? (retryable && TELLS_WHEN.has(status) ? 1 : undefined);
    if (wait !== undefined) {
      const seconds = Math.min(MOST_RETRY_SECONDS, Math.max(1, Math.ceil(wait)));
      c.header('retry-after', String(seconds));
      const milliseconds = Math.min(MOST_RETRY_SECONDS, Math.max(0.001, wait)) * 1000;
      c.header('retry-after-ms', String(Math.ceil(milliseconds)));
    }
    return c.json(error.toBody(), status as 400);
  };
}

/** 405 with `Allow` where the path exists for another method, else 404 (contract, section 9). */
export function unknownRoute(app: Hono<GatewayEnv>): NotFoundHandler<GatewayEnv> {
  return (c: Context<GatewayEnv>) => {
    const { method, path } = c.req;
    const methods = new Set(
      app.routes
        .filter((route) => route.method !== 'ALL' && matches(route.path, path))
        .map((route) => route.method),
    );
    if (methods.size === 0) {
      throw new VoiceError('unknown_route', { message: `Invalid URL (${method} ${path})` });
    }
    const accepted = [...methods].join(' and ');
    if (methods.has('GET')) methods.add('HEAD');
    c.header('allow', [...methods].join(', '));
    throw new VoiceError('method_not_supported', {
      message: `Only ${accepted} requests are accepted.`,
    });
  };
}

/** A Hono path with `:name`, `:name{.+}` (the rest, slashes included) and `*` parts against a real one. */
function matches(pattern: string, path: string): boolean {
  const wanted = pattern.split('/');
  const given = path.split('/');
  const fits = wanted.every(
    (part, index) => part === '*' || (part.startsWith(':') ? given[index] : part === given[index]),
  );
  return fits && (pattern.endsWith('{.+}') || wanted.length === given.length);
}
