import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';

/** `refused`: 401. `hidden`: the same 404 as for any unknown path. */
export type Admittance = 'admitted' | 'refused' | 'hidden';

/** What a refusal asks for: browsers can only send Basic. */
export const ADMIN_CHALLENGE = 'Basic realm="antiphon", charset="UTF-8"';

const LOOPBACK = /^(?:::ffff:)?127\.|^::1$/;
/** A proxy on this machine makes everybody a loopback client. */
const PROXY_HEADERS = ['forwarded', 'x-forwarded-for', 'x-real-ip', 'via'];

const digest = (text: string): Buffer => createHash('sha256').update(text).digest();

/**
 * Who may see metrics and queues: whoever sends `ADMIN_KEY` as Bearer, as `x-api-key` or as a
 * Basic password; without such a key, clients on this machine that no proxy stands for.
 */
export class AdminAccess {
  readonly #expected: Buffer | undefined;

  constructor(adminKey: string | undefined) {
    this.#expected = adminKey === undefined ? undefined : digest(adminKey);
  }

  judge({ headers, headersDistinct, socket }: IncomingMessage): Admittance {
    if (!this.#expected) {
      const isProxied = PROXY_HEADERS.some((name) => headers[name] !== undefined);
      return LOOPBACK.test(socket.remoteAddress ?? '') && !isProxied ? 'admitted' : 'hidden';
    }
    const given = [
      ...(headersDistinct['authorization'] ?? []).map(readAuthorization),
      ...(headersDistinct['x-api-key'] ?? []),
    ];
    if (given.length !== 1) return 'refused';
    return timingSafeEqual(this.#expected, digest(given[0] ?? '')) ? 'admitted' : 'refused';
  }
}

/** The key in it; empty where there is none. */
function readAuthorization(value: string): string {
  const [scheme = '', credentials = ''] = value.split(' ', 2);
  if (scheme.toLowerCase() === 'bearer') return credentials;
  if (scheme.toLowerCase() !== 'basic') return '';
  const pair = Buffer.from(credentials, 'base64').toString('utf8');
  return pair.slice(pair.indexOf(':') + 1);
}
