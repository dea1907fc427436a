import { freePort, startRedis } from '@antiphon/testing/redis';
import { afterEach, describe, expect, it } from 'vitest';
import { pino } from 'pino';
import { checkRedis, openConnections, redactRedisUrl } from './redis.ts';

const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const server of open.splice(0)) await server.close();
});
const start = async (...flags: string[]) => {
  const server = await startRedis(flags);
  open.push(server);
  return server;
};

it('accepts a Redis that keeps what it is given', async () => {
  const server = await start();
  await expect(checkRedis(server.url, 'REDIS_URL')).resolves.toBeUndefined();
});

it('names the variable when nothing listens', async () => {
  const port = await freePort();
  await expect(checkRedis(`redis://127.0.0.1:${port}`, 'REDIS_URL')).rejects.toThrow(
    `REDIS_URL: Redis at redis://127.0.0.1:${port}: nothing listens there`,
  );
});

it('refuses a wrong password without showing it', async () => {
  const server = await start('--requirepass', 'right');
  const failure = checkRedis(`redis://:wrong-canary@127.0.0.1:${server.port}`, 'REDIS_URL');
  await expect(failure).rejects.toThrow(/REDIS_URL.*the password was refused/);
  await expect(failure).rejects.not.toThrow(/canary/);
});

it('refuses a Redis that evicts', async () => {
  const server = await start('--maxmemory-policy', 'allkeys-lru');
  await expect(checkRedis(server.url, 'REDIS_URL')).rejects.toThrow(
    /maxmemory-policy is 'allkeys-lru'.*config set maxmemory-policy noeviction/,
  );
});

describe('the connections of a process', () => {
  const warningsOf = async (urls: Parameters<typeof openConnections>[0]) => {
    const lines: { level: number; msg: string }[] = [];
    const logger = pino({}, { write: (line: string) => void lines.push(JSON.parse(line)) });
    const connections = await openConnections(urls, 'patient', logger);
    for (const redis of Object.values(connections)) redis.disconnect();
    return lines.map(({ msg }) => msg);
  };

  it('are warned of a Redis that others reach without a password, once', async () => {
    const { port } = await start();
    const REDIS_URL = `redis://0.0.0.0:${port}`;
    const expected = [expect.stringMatching(/^REDIS_URL: Redis at .* asks for no password/)];
    expect(await warningsOf({ REDIS_URL })).toEqual(expected);
    expect(await warningsOf({ REDIS_URL, STREAM_REDIS_URL: REDIS_URL })).toEqual(expected);
    const stream = { REDIS_URL: `redis://127.0.0.1:${port}`, STREAM_REDIS_URL: REDIS_URL };
    expect(await warningsOf(stream)).toEqual([expect.stringMatching(/^STREAM_REDIS_URL: /)]);
  });

  it.each(['127.0.0.1', 'localhost'])('are not of one on %s', async (host) => {
    const { port } = await start();
    expect(await warningsOf({ REDIS_URL: `redis://${host}:${port}` })).toEqual([]);
  });

  it('are not of one that asks for a password', async () => {
    const { port } = await start('--requirepass', 'right');
    expect(await warningsOf({ REDIS_URL: `redis://:right@0.0.0.0:${port}` })).toEqual([]);
  });
});

it('shows a URL without its password', () => {
  expect(redactRedisUrl('redis://user:secret@h:1/2')).toBe('redis://h:1/2');
});
