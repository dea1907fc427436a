import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { until } from '@antiphon/testing/until';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { startTicks } from './process-identity.ts';
import { type PrivateRedis, preparePrivateRedis, redisAnswers } from './private-redis.ts';

let dataDir: string;
const pids: number[] = [];

beforeEach(() => (dataDir = mkdtempSync(join(tmpdir(), 'antiphon redis-'))));
afterEach(async () => {
  for (const pid of pids.splice(0)) {
    if (startTicks(pid) !== undefined) process.kill(pid, 'SIGKILL');
    await until(() => startTicks(pid) === undefined);
  }
  rmSync(dataDir, { recursive: true });
});

async function launch(redis: PrivateRedis): Promise<number> {
  const [program, ...args] = redis.spec.command;
  const { pid = 0 } = spawn(program, args, { cwd: redis.spec.cwd, stdio: 'ignore' });
  pids.push(pid);
  await redisAnswers(redis.url, AbortSignal.timeout(30_000));
  return pid;
}

/** The answer of one connection to inline commands. */
async function ask(url: string, ...commands: string[]): Promise<string> {
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  const chunks: Buffer[] = [];
  socket.on('data', (data: Buffer) => chunks.push(data));
  socket.end(`${commands.join('\r\n')}\r\nQUIT\r\n`);
  await once(socket, 'close');
  return Buffer.concat(chunks).toString();
}

it('asks for a password that only this user can read', async () => {
  const redis = await preparePrivateRedis('redis-server', dataDir);
  await launch(redis);
  expect(await ask(redis.url, 'PING')).toMatch(/^-NOAUTH/);
  const { password } = new URL(redis.url);
  expect(password).toMatch(/^[0-9a-f]{48}$/);
  expect(redis.spec.command.join(' ')).not.toContain(password);
  expect(statSync(join(dataDir, 'redis', 'redis.conf')).mode & 0o777).toBe(0o600);
});

it('keeps what it was given, evicts nothing and limits slow subscribers', async () => {
  const redis = await preparePrivateRedis('redis-server', dataDir);
  await launch(redis);
  const reply = await ask(
    redis.url,
    `AUTH ${new URL(redis.url).password}`,
    ...['appendonly', 'maxmemory-policy', 'save', 'bind'].map((name) => `CONFIG GET ${name}`),
    'CONFIG GET client-output-buffer-limit',
  );
  const values = reply.split('\r\n').filter((line) => !/^[*$+]/.test(line));
  expect(values).toEqual(expect.arrayContaining(['yes', 'noeviction', '127.0.0.1']));
  expect(reply).toContain('pubsub 67108864 16777216 30');
});

it('ends a Redis that an earlier start left on the same files, and keeps its data', async () => {
  const earlier = await preparePrivateRedis('redis-server', dataDir);
  const pid = await launch(earlier);
  await ask(earlier.url, `AUTH ${new URL(earlier.url).password}`, 'SET kept yes');
  const later = await preparePrivateRedis('redis-server', dataDir);
  expect(startTicks(pid)).toBeUndefined();
  await launch(later);
  const reply = await ask(later.url, `AUTH ${new URL(later.url).password}`, 'GET kept');
  expect(reply).toContain('yes');
});

it('gives up waiting when it is told to', async () => {
  const { url } = await preparePrivateRedis('redis-server', dataDir);
  await expect(redisAnswers(url, AbortSignal.timeout(50))).rejects.toThrow(/abort|timeout/i);
});
