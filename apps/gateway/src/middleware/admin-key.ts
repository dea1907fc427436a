import { ADMIN_CHALLENGE, AdminAccess } from '@antiphon/shared/runtime/admin-access';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { MiddlewareHandler } from 'hono';
import type { GatewayEnv } from '../gateway-context.ts';

/**
 * For the routes of the operator: 401 without `ADMIN_KEY`; where none is set, 404 for everybody but
 * clients on this machine.
 */
export function adminKey(key: string | undefined): MiddlewareHandler<GatewayEnv> {
  const access = new AdminAccess(key);
  return async (c, next) => {
    const admittance = access.judge(c.env.incoming);
    if (admittance === 'hidden')
      throw new VoiceError('unknown_route', {
        message: `Invalid URL (${c.req.method} ${c.req.path})`,
      });
    if (admittance === 'refused') {
      c.header('www-authenticate', ADMIN_CHALLENGE);
      throw new VoiceError('invalid_api_key', { message: 'This needs the ADMIN_KEY.' });
    }
    c.header('cache-control', 'no-store');
    await next();
  };
}
