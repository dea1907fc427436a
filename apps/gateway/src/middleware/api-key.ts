import { createHash, timingSafeEqual } from 'node:crypto';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { MiddlewareHandler } from 'hono';
import type { GatewayEnv } from '../gateway-context.ts';

/** The tenant of everybody while there are no keys. */
const DEFAULT_TENANT = 'default';

export interface ApiKeyOptions {
  keys: string[];
  /** Lets `GET /v1/audio/voices` and `/v1/audio/models` pass without a key: Open WebUI sends none. */
  publicLists: boolean;
}

const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
const PUBLIC_LISTS = new Set(['/v1/audio/voices', '/v1/audio/models']);

/**
 * `Authorization: Bearer` against `API_KEYS`. Runs before anything of the body is read, also on
 * routes that do not exist. All keys are compared, in constant time, by digest.
 */
export function apiKey({ keys, publicLists }: ApiKeyOptions): MiddlewareHandler<GatewayEnv> {
  const digests = keys.map((key) => digest(key));
  return async (c, next) => {
    c.set('tenantId', DEFAULT_TENANT);
    const open = publicLists && c.req.method === 'GET' && PUBLIC_LISTS.has(c.req.path);
    if (digests.length > 0 && !open) {
      const given = digest(readKey(c.env.incoming.rawHeaders));
      let known = false;
      for (const expected of digests) known = timingSafeEqual(expected, given) || known;
      if (!known) throw wrongKey(readKey(c.env.incoming.rawHeaders));
      c.set('tenantId', `key-${given.toString('hex', 0, 8)}`);
    }
    await next();
  };
}

/** The raw headers, since Node keeps only the first of several Authorization headers. */
function readKey(rawHeaders: string[]): string {
  const values = rawHeaders.filter(
    (_value, index) => index % 2 === 1 && rawHeaders[index - 1]?.toLowerCase() === 'authorization',
  );
  const [value] = values;
  if (value === undefined) throw new VoiceError('missing_api_key');
  const match = /^bearer ([\x21-\x7e]+)$/i.exec(value);
  if (values.length > 1 || !match) {
    throw new VoiceError('invalid_api_key', {
      message:
        'Incorrect API key provided: the Authorization header must be given once, as "Bearer YOUR_KEY".',
    });
  }
  return match[1] ?? '';
}

const wrongKey = (key: string): VoiceError =>
  new VoiceError('invalid_api_key', { message: `Incorrect API key provided: ${maskKey(key)}.` });

/** The start and end tell people which key it was; the rest is nobody's business. */
function maskKey(key: string): string {
  return key.length < 12 ? '***' : `${key.slice(0, 3)}***${key.slice(-4)}`;
}
