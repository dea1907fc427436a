import { VoiceError } from '@antiphon/shared/errors/voice-error';
import { addToLogContext } from '@antiphon/shared/runtime/log-context';
import type { MiddlewareHandler } from 'hono';
import type { GatewayEnv } from '../gateway-context.ts';
import { type KeyLimits, NO_LIMITS } from '../tenants/key-list.ts';
import type { KeyRing } from '../tenants/key-ring.ts';

/** The tenant of everybody while there are no keys. */
const DEFAULT_TENANT = 'default';

export interface ApiKeyOptions {
  keys: KeyRing;
  /** Lets `GET /v1/audio/voices` and `/v1/audio/models` pass without a key: Open WebUI sends none. */
  publicLists: boolean;
  /** Of keys that have none of their own, and of everybody while there are no keys. */
  limits: KeyLimits;
}

const PUBLIC_LISTS = new Set(['/v1/audio/voices', '/v1/audio/models']);

/**
 * `Authorization: Bearer` or `x-api-key` against the keys in force. Runs before anything of the
 * body is read, also on routes that do not exist.
 */
export function apiKey({
  keys,
  publicLists,
  limits,
}: ApiKeyOptions): MiddlewareHandler<GatewayEnv> {
  return async (c, next) => {
    c.set('tenantId', DEFAULT_TENANT);
    const open = publicLists && c.req.method === 'GET' && PUBLIC_LISTS.has(c.req.path);
    c.set('limits', open ? NO_LIMITS : limits);
    if (!keys.isEmpty && !open) {
      const given = readKey(c.env.incoming.rawHeaders);
      const key = keys.find(given);
      if (!key) throw wrongKey(given);
      c.set('tenantId', key.tenantId);
      c.set('limits', { ...limits, ...key.limits });
    }
    addToLogContext({ tenantId: c.get('tenantId') });
    await next();
  };
}

const refused = (message: string) =>
  new VoiceError('invalid_api_key', { message: `Incorrect API key provided: ${message}` });

/** The raw headers, since Node keeps only the first of several Authorization headers. */
function readKey(rawHeaders: string[]): string {
  const bearer = headerValues(rawHeaders, 'authorization').map((value) => {
    const match = /^bearer ([\x21-\x7e]+)$/i.exec(value);
    return match?.[1];
  });
  const plain = headerValues(rawHeaders, 'x-api-key');
  const [given = plain[0]] = bearer;
  if (bearer.length + plain.length === 0) throw new VoiceError('missing_api_key');
  if (bearer.length > 1 || bearer.includes(undefined))
    throw refused('the Authorization header must be given once, as "Bearer YOUR_KEY".');
  if (plain.length > 1 || given === undefined || given === '')
    throw refused('the x-api-key header must be given once, with the key alone.');
  if (plain[0] !== undefined && plain[0] !== given)
    throw refused('the Authorization and x-api-key headers hold different keys.');
  return given;
}

const headerValues = (rawHeaders: string[], name: string): string[] =>
  rawHeaders.filter(
    (_value, index) => index % 2 === 1 && rawHeaders[index - 1]?.toLowerCase() === name,
  );

/** As somebody guessed it. */
const wrongKey = (key: string): VoiceError => refused(`${maskKey(key)}.`);

/** The start and end tell people which key it was; the rest is nobody's business. */
function maskKey(key: string): string {
  return key.length < 12 ? '***' : `${key.slice(0, 3)}***${key.slice(-4)}`;
}
