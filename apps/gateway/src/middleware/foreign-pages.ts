import { isIP } from 'node:net';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { MiddlewareHandler } from 'hono';
import { isLoopback } from '../config.ts';
import type { GatewayEnv } from '../gateway-context.ts';

export interface ForeignPagesOptions {
  /** Whether who asks needs no key: then a page in anybody's browser could ask in its name. */
  isOpen: () => boolean;
  /** Where the gateway listens. */
  host: string;
  /** Of pages that may ask. */
  origins: readonly string[];
}

/** Names that nobody can register: containers call the machine they run on `host.docker.internal`. */
const PRIVATE_NAME = /(?:^|\.)(?:localhost|internal)$/;

/**
 * Refuses what pages of other web origins send, where no key is asked for. They cannot read what is
 * answered, but a form or an image is sent without being asked (`origin_not_allowed`); and where only
 * the loopback is served, a page whose name was made to point there could read it as well
 * (`host_not_allowed`). Browsers tell by `Sec-Fetch-Site` and `Origin`; other clients send neither.
 */
export function foreignPages(options: ForeignPagesOptions): MiddlewareHandler<GatewayEnv> {
  const { isOpen, host, origins } = options;
  const ownNames = new Set([
    host.toLowerCase(),
    ...origins.map((origin) => nameOf(hostOf(origin))),
  ]);
  const isAnyPage = origins.includes('*');
  const isOwnName = (name: string) =>
    isIP(name) !== 0 || PRIVATE_NAME.test(name) || ownNames.has(name);
  return async (c, next) => {
    if (isOpen()) {
      const { host: asked = '', origin, 'sec-fetch-site': site } = c.env.incoming.headers;
      if (isLoopback(host) && asked !== '' && !isOwnName(nameOf(asked)))
        throw new VoiceError('host_not_allowed');
      const isOwnPage =
        site === undefined
          ? origin === undefined || hostOf(origin) === asked.toLowerCase()
          : site === 'same-origin' || site === 'none';
      if (!isOwnPage && !isAnyPage && !origins.includes(origin ?? ''))
        throw new VoiceError('origin_not_allowed');
    }
    await next();
  };
}

/** Host and port as a Host header has them; empty where the origin has none, as `null`. */
const hostOf = (origin: string): string => (URL.canParse(origin) ? new URL(origin).host : '');

/** Without port, brackets, and the dot that may end a name. */
const nameOf = (host: string): string =>
  host
    .toLowerCase()
    .replace(/:\d*$/, '')
    .replace(/^\[(.*)\]$/, '$1')
    .replace(/\.$/, '');
