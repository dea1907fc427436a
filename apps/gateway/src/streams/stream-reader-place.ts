import type { Context } from 'hono';
import type { GatewayContext, GatewayEnv } from '../gateway-context.ts';

/** Reads a stream again, in one of the places that its key has for that. Throws `rate_limit_exceeded`. */
export async function inReaderPlace<T>(
  c: Context<GatewayEnv>,
  { admission }: GatewayContext,
  read: () => Promise<T>,
): Promise<T> {
  const leave = await admission.admitReader({
    tenantId: c.get('tenantId'),
    limits: c.get('limits'),
    requestId: c.get('requestId'),
  });
  try {
    return await read();
  } finally {
    leave();
  }
}
