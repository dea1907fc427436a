import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { commandLine } from './process-identity.ts';
import type { ProcessSpec } from './supervised-process.ts';

export const REDIS_PROGRAMS = ['redis-server', 'valkey-server'] as const;

const STOP_TIMEOUT_MS = 10_000;
const PING_INTERVAL_MS = 20;

export interface PrivateRedis {
  spec: ProcessSpec;
  /** With the password: for the environment of our processes only, never for a log. */
  url: string;
}

/**
 * A Redis of our own under `dataDir`/redis: loopback only, a free port, a new random password in a
 * file that only this user reads, AOF once a second, nothing evicted. One that an earlier start
 * left on the same files is ended first, since two on one AOF destroy it.
 */
export async function preparePrivateRedis(program: string, dataDir: string): Promise<PrivateRedis> {
  const directory = join(dataDir, 'redis');
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const pidFile = join(directory, 'redis.pid');
  await endLeftover(pidFile);
  const port = await freePort();
  const password = randomBytes(24).toString('hex');
  const configFile = join(directory, 'redis.conf');
  rmSync(configFile, { force: true });
  writeFileSync(configFile, redisConfig({ port, password, directory, pidFile }), { mode: 0o600 });
  return {
    url: `redis://:${password}@127.0.0.1:${port}`,
    spec: {
      name: 'redis',
      command: [program, configFile],
      env: process.env,
      cwd: directory,
      stopTimeoutMs: STOP_TIMEOUT_MS,
    },
  };
}

interface RedisSettings {
  port: number;
  password: string;
  directory: string;
  pidFile: string;
}

function redisConfig({ port, password, directory, pidFile }: RedisSettings): string {
  return [
    'bind 127.0.0.1',
    `port ${port}`,
    `requirepass ${password}`,
    `dir ${quoted(directory)}`,
    `pidfile ${quoted(pidFile)}`,
    'daemonize no',
    'loglevel warning',
    'save ""',
    'appendonly yes',
    'appendfsync everysec',
    'maxmemory-policy noeviction',
    // A reader that falls behind reads the log instead; its buffer here must not grow.
    'client-output-buffer-limit pubsub 64mb 16mb 30',
    '',
  ].join('\n');
}

function quoted(path: string): string {
  return `"${path.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;
}

/** Waits until a Redis at `url` answers; while it loads its files it does not count. */
export async function redisAnswers(url: string, signal: AbortSignal): Promise<void> {
  for (;;) {
    signal.throwIfAborted();
    if (await ping(new URL(url))) return;
    await delay(PING_INTERVAL_MS, undefined, { signal });
  }
}

function ping({ hostname, port, password }: URL): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: hostname, port: Number(port) });
    let reply = '';
    const finish = (answered: boolean) => {
      socket.destroy();
      resolve(answered);
    };
    socket.setTimeout(1000, () => finish(false));
    socket.on('error', () => finish(false));
    socket.on('close', () => finish(false));
    socket.on('connect', () => socket.write(`AUTH ${password}\r\nPING\r\n`));
    socket.on('data', (data) => {
      reply += data.toString('latin1');
      if (reply.includes('+PONG')) finish(true);
      else if (reply.includes('LOADING')) finish(false);
    });
  });
}

async function endLeftover(pidFile: string): Promise<void> {
  const pid = readPid(pidFile);
  if (pid === undefined) return;
  const isRedis = () => /(redis|valkey)-server/.test(commandLine(pid)[0] ?? '');
  if (isRedis()) process.kill(pid, 'SIGTERM');
  const killAtMs = performance.now() + STOP_TIMEOUT_MS;
  while (isRedis()) {
    if (performance.now() > killAtMs) process.kill(pid, 'SIGKILL');
    await delay(PING_INTERVAL_MS);
  }
  rmSync(pidFile, { force: true });
}

function readPid(file: string): number | undefined {
  try {
    const pid = Number(readFileSync(file, 'utf8'));
    return pid > 1 ? pid : undefined;
  } catch {
    return undefined;
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      const port = typeof address === 'object' && address ? address.port : 0;
      server.close(() => resolve(port));
    });
  });
}
