import { once } from 'node:events';
import { Redis, type RedisOptions } from 'ioredis';
import type { Logger } from '../runtime/logger.ts';
import { LATE, answerWithin } from '../runtime/within.ts';
import { defineStreamScripts, type ScriptedRedis } from '../streams/stream-scripts.ts';

/**
 * What a connection is for decides how it fails.
 * `command` (gateway): at once, so that a client gets its 503 within a second.
 * `patient` (worker) and `subscriber`: commands wait for Redis to come back and are sent again;
 * every one of ours may be applied twice.
 */
export type ConnectionRole = 'command' | 'patient' | 'subscriber';

const ROLES: Record<ConnectionRole, RedisOptions> = {
  command: { enableOfflineQueue: false, maxRetriesPerRequest: 0, commandTimeout: 2000 },
  patient: { maxRetriesPerRequest: null },
  subscriber: { maxRetriesPerRequest: null },
};

/**
 * A connection over which a command is not answered for so long is cut and made anew. Of one that
 * died without a word the kernel tells after 15 min only, and ioredis waits for the kernel.
 */
const SILENCE_MS = 3000;
/** So that a connection over which nothing is asked is found dead as well. */
const PING_MS = 1000;
/** BullMQ's waits of 10 s at most over a duplicate; it gives up a wait that is late by 1 s itself. */
const BLOCKING_SILENCE_MS = 12_000;
/** For a cut connection to end in order; a dead one never does. */
const DISCONNECT_MS = 500;

/** ioredis' own curve starts at 50 ms too; BullMQ's floor of 1 s is too slow for us. */
const reconnectDelayMs = (attempt: number): number => Math.min(attempt * 50, 1000);

export interface RedisConnectionOptions {
  role: ConnectionRole;
  /** Called for each connection error; ioredis reconnects by itself. */
  onError: (error: Error) => void;
}

/**
 * Opens a connection with the stream scripts defined. One that dies without a word is made anew
 * within 4 s. Close it by `disconnect()`.
 */
export function openRedis(url: string, { role, onError }: RedisConnectionOptions): ScriptedRedis {
  const redis = new Redis(url, {
    ...ROLES[role],
    retryStrategy: reconnectDelayMs,
    connectTimeout: 5000,
    keepAlive: 10_000,
    socketTimeout: SILENCE_MS,
    disconnectTimeout: DISCONNECT_MS,
  });
  redis.on('error', onError);
  // BullMQ blocks over one: what it waits for comes late and is no fault.
  redis.duplicate = (override) =>
    new Redis({ ...redis.options, socketTimeout: BLOCKING_SILENCE_MS, ...override });
  ping(redis);
  return defineStreamScripts(redis);
}

const answeredAtMs = new WeakMap<Redis, number>();

/** Each second while it is connected, one at a time. */
function ping(redis: Redis): void {
  let timer: NodeJS.Timeout | undefined;
  let waiting = false;
  const answered = () => answeredAtMs.set(redis, performance.now());
  const ask = async () => {
    waiting = true;
    await redis.ping().then(answered, () => undefined); // the 'error' event tells
    waiting = false;
  };
  redis.on('ready', () => {
    answered();
    clearInterval(timer);
    timer = setInterval(() => {
      if (!waiting) void ask();
    }, PING_MS);
    timer.unref();
  });
  redis.on('close', () => clearInterval(timer));
}

/** Whether a connection of `openRedis` takes commands, and Redis answered over it within 3 s. */
export function isAnswering(redis: Redis): boolean {
  const sinceMs = performance.now() - (answeredAtMs.get(redis) ?? Number.NEGATIVE_INFINITY);
  return redis.status === 'ready' && sinceMs < SILENCE_MS;
}

/** Where queues lie, and streams: there as well unless told. */
interface RedisUrls {
  REDIS_URL: string;
  STREAM_REDIS_URL?: string | undefined;
}

/**
 * What every process has, in the role that its commands need. Checks Redis first: a fault there is
 * one line at start, not a process that waits for ever. Rejects as `checkRedis` does.
 */
export async function openConnections(
  { REDIS_URL, STREAM_REDIS_URL = REDIS_URL }: RedisUrls,
  role: 'command' | 'patient',
  logger: Logger,
) {
  const urls = { REDIS_URL, ...(STREAM_REDIS_URL === REDIS_URL ? {} : { STREAM_REDIS_URL }) };
  for (const [variable, url] of Object.entries(urls)) {
    await checkRedis(url, variable);
    const warning = openToAll(url, variable);
    if (warning !== undefined) logger.warn(warning);
  }
  const onError = (error: Error) => logger.warn({ err: error }, 'redis');
  return {
    queue: openRedis(REDIS_URL, { role, onError }),
    stream: openRedis(STREAM_REDIS_URL, { role, onError }),
    subscriber: openRedis(STREAM_REDIS_URL, { role: 'subscriber', onError }),
  };
}

const LOOPBACK = /^(?:localhost|127(?:\.\d+){3}|\[::1\])$/;

/**
 * What to tell of a Redis that took us without a password, where others than this machine may reach
 * it. Not a fault: in a network of containers a name may be as private.
 */
function openToAll(url: string, variable: string): string | undefined {
  const { hostname, password, searchParams } = new URL(url);
  if (password !== '' || searchParams.has('password') || LOOPBACK.test(hostname)) return undefined;
  return `${variable}: Redis at ${redactRedisUrl(url)} asks for no password: whoever reaches it reads and changes everything; set one (requirepass, or an ACL user)`;
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
  try {
    // A port that takes connections and says nothing would be waited for without end.
    const asked = redis.connect().then(() => redis.info('memory'));
    const memory = await answerWithin(CHECK_TIMEOUT_MS, asked);
    if (memory === LATE) throw new Error('timed out');
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
