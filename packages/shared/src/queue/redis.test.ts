import { freePort, startRedis } from '@antiphon/testing/redis';
import { afterEach, expect, it } from 'vitest';
import { checkRedis, redactRedisUrl } from './redis.ts';

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

it('shows a URL without its password', () => {
  expect(redactRedisUrl('redis://user:secret@h:1/2')).toBe('redis://h:1/2');
});
