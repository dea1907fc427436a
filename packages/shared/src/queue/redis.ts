import { once } from 'node:events';
import { Redis, type RedisOptions } from 'ioredis';
import { defineStreamScripts, type ScriptedRedis } from '../streams/stream-scripts.ts';

/**
 * What a connection is for decides how it fails.
 * `command` (gateway): at once, so that a client gets its 503 within a second.
 * `patient` (worker): commands wait for Redis to come back and are sent again; every one of ours
 * may be applied twice. `subscriber`: a connection that carries nothing for 3 s is cut and made
 * anew; the owner pings it each second (ioredis never notices a half-open one by itself).
 */
export type ConnectionRole = 'command' | 'patient' | 'subscriber';

const ROLES: Record<ConnectionRole, RedisOptions> = {
  command: { enableOfflineQueue: false, maxRetriesPerRequest: 0, commandTimeout: 2000 },
  patient: { maxRetriesPerRequest: null },
  subscriber: { maxRetriesPerRequest: null, socketTimeout: 3000 },
};

/** ioredis' own curve starts at 50 ms too; BullMQ's floor of 1 s is too slow for us. */
const reconnectDelayMs = (attempt: number): number => Math.min(attempt * 50, 1000);

export interface RedisConnectionOptions {
  role: ConnectionRole;
  /** Called for each connection error; ioredis reconnects by itself. */
  onError: (error: Error) => void;
}

/** Opens a connection with the stream scripts defined. Close it by `disconnect()`. */
export function openRedis(url: string, { role, onError }: RedisConnectionOptions): ScriptedRedis {
  const redis = new Redis(url, {
    ...ROLES[role],
    retryStrategy: reconnectDelayMs,
    connectTimeout: 5000,
    keepAlive: 10_000,
  });
  redis.on('error', onError);
  return defineStreamScripts(redis);
}

/** Resolves when the connection takes commands: a `command` connection refuses them until then. */
export async function whenReady(redis: Redis): Promise<void> {
  if (redis.status !== 'ready') await once(redis, 'ready');
}

/** The URL without its password, for messages. */
export function redactRedisUrl(url: string): string {
  try {
    const { protocol, host, pathname } = new URL(url);
    return `${protocol}//${host}${pathname === '/' ? '' : pathname}`;
  } catch {
    return '(not a URL)';
  }
}

const CHECK_TIMEOUT_MS = 3500;

/**
 * Checks at start that Redis answers and will not evict our keys. Rejects within 5 s with an
 * Error whose message names the variable and the cause, without the password.
 */
export async function checkRedis(url: string, variable: string): Promise<void> {
  const redis = new Redis(url, {
    lazyConnect: true,
    retryStrategy: () => null,
    connectTimeout: 3000,
    commandTimeout: 3000,
    maxRetriesPerRequest: 0,
  });
  // connect() rejects with "Connection is closed." only; the event before it has the reason.
  let reason: Error | undefined;
  redis.on('error', (error: Error) => {
    reason ??= error;
  });
  // A port that takes connections and says nothing would be waited for without end.
  const silence = Promise.withResolvers<never>();
  const timer = setTimeout(() => silence.reject(new Error('timed out')), CHECK_TIMEOUT_MS);
  try {
    const memory = await Promise.race([
      redis.connect().then(() => redis.info('memory')),
      silence.promise,
    ]);
    const policy = /maxmemory_policy:(\S+)/.exec(memory)?.[1];
    if (policy !== undefined && policy !== 'noeviction') {
      throw new Error(
        `maxmemory-policy is '${policy}', which drops jobs; run: redis-cli config set maxmemory-policy noeviction`,
      );
    }
  } catch (cause) {
    const text = describeFailure(reason ?? (cause as Error));
    throw new Error(`${variable}: Redis at ${redactRedisUrl(url)}: ${text}`, { cause });
  } finally {
    clearTimeout(timer);
    redis.disconnect();
  }
}

function describeFailure(cause: Error): string {
  const { code } = cause as NodeJS.ErrnoException;
  if (/WRONGPASS|NOAUTH|invalid password/i.test(cause.message)) return 'the password was refused';
  if (/timed out/i.test(cause.message)) return 'it does not answer';
  if (code === 'ECONNREFUSED') return 'nothing listens there (ECONNREFUSED)';
  if (code !== undefined) return `cannot be reached (${code})`;
  return cause.message;
}
