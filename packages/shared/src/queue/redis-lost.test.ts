import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { type TcpProxy, startTcpProxy } from '@antiphon/testing/tcp-proxy';
import { until } from '@antiphon/testing/until';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { ScriptedRedis } from '../streams/stream-scripts.ts';
import { type ConnectionRole, isAnswering, openRedis, whenReady } from './redis.ts';

let server: RedisServer;
let proxy: TcpProxy;
let redis: ScriptedRedis;
/** How often it was connected anew. */
let reconnects: number;
beforeEach(async () => {
  server = await startRedis();
  proxy = await startTcpProxy(server.port);
});
afterEach(async () => {
  redis.disconnect();
  await proxy.close();
  await server.close();
});

function connect(role: ConnectionRole): void {
  redis = openRedis(`redis://127.0.0.1:${proxy.port}`, { role, onError: () => undefined });
  reconnects = 0;
  redis.on('reconnecting', () => {
    reconnects += 1;
  });
}
async function open(role: ConnectionRole): Promise<void> {
  connect(role);
  await whenReady(redis);
}

it.each(['command', 'patient', 'subscriber'] as const)(
  'a %s connection that is dead without a word is made anew, although nothing is asked over it',
  async (role) => {
    await open(role);
    expect(isAnswering(redis)).toBe(true);
    proxy.loseAll();
    await until(() => !isAnswering(redis));
    await until(() => reconnects > 0 && isAnswering(redis));
    expect(await redis.ping()).toBe('PONG');
  },
);

it('one that dies before Redis has greeted it is made anew', async () => {
  proxy.setMode({ type: 'blackhole' });
  connect('patient');
  await until(() => proxy.connections().length === 1);
  proxy.loseAll();
  proxy.setMode({ type: 'pass' });
  expect(await redis.ping()).toBe('PONG');
});

it('one over which nothing is asked is kept', async () => {
  await open('command');
  const startedMs = performance.now();
  await until(() => performance.now() - startedMs > 4500);
  expect(reconnects).toBe(0);
});

it('a command over a dead patient connection is done over the next one', async () => {
  await open('patient');
  proxy.loseAll();
  expect(await redis.incr('count')).toBe(1);
});
