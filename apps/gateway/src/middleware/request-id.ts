import { randomUUID } from 'node:crypto';
import { withLogContext } from '@antiphon/shared/runtime/log-context';
import { createMiddleware } from 'hono/factory';
import type { GatewayEnv } from '../gateway-context.ts';

export const createRequestId = (): string => `req_${randomUUID().replaceAll('-', '')}`;

/** Every reply says which request it answers; the caller's own id is echoed as OpenAI does. */
export const requestId = createMiddleware<GatewayEnv>(async (c, next) => {
  const id = createRequestId();
  c.set('requestId', id);
  c.header('x-request-id', id);
  c.header('x-content-type-options', 'nosniff');
  const clientId = c.req.header('x-client-request-id');
  if (clientId !== undefined && /^[\x20-\x7e]{1,512}$/.test(clientId)) {
    c.header('x-client-request-id', clientId);
  }
  await withLogContext({ requestId: id }, next);
});
