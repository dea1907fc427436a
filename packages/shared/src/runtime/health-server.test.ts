import { freePort } from '@antiphon/testing/redis';
import { Redis } from 'ioredis';
import { Registry } from 'prom-client';
import { afterEach, expect, it } from 'vitest';
import { AdminAccess } from './admin-access.ts';
import { type HealthServer, startHealthServer } from './health-server.ts';
import { countReconnects } from './metrics.ts';

const open: HealthServer[] = [];
afterEach(async () => {
  for (const server of open.splice(0)) await server.close();
});
function options(isReady: () => boolean, adminKey?: string) {
  const registry = new Registry();
  countReconnects(registry, { queue: new Redis({ lazyConnect: true }) });
  return { isReady, metrics: { registry, access: new AdminAccess(adminKey) } };
}
async function start(isReady: () => boolean, adminKey?: string): Promise<string> {
  const port = await freePort();
  open.push(await startHealthServer(port, options(isReady, adminKey)));
  return `http://127.0.0.1:${port}`;
}

it('is live always, and ready when it is', async () => {
  let ready = false;
  const url = await start(() => ready);
  expect((await fetch(`${url}/health/live`)).status).toBe(200);
  expect((await fetch(`${url}/health/ready`)).status).toBe(503);
  ready = true;
  const response = await fetch(`${url}/health/ready`);
  expect(response.status).toBe(200);
  expect(await response.json()).toEqual({ status: 'ok' });
  expect((await fetch(`${url}/other`)).status).toBe(404);
});

it('shows its metrics to this machine while there is no admin key, and not through a proxy', async () => {
  const url = await start(() => true);
  const response = await fetch(`${url}/metrics`);
  expect(response.headers.get('content-type')).toMatch(/^text\/plain; version=0\.0\.4/);
  expect(await response.text()).toContain('antiphon_redis_reconnects_total{connection="queue"} 0');
  const proxied = await fetch(`${url}/metrics`, { headers: { 'x-forwarded-for': '203.0.113.9' } });
  expect(proxied.status).toBe(404);
});

it('shows its metrics to the admin key alone where there is one', async () => {
  const url = await start(() => true, 'admin-key-0123456789');
  const refused = await fetch(`${url}/metrics`);
  expect(refused.status).toBe(401);
  expect(refused.headers.get('www-authenticate')).toMatch(/^Basic /);
  const headers = { authorization: 'Bearer admin-key-0123456789' };
  expect((await fetch(`${url}/metrics`, { headers })).status).toBe(200);
  expect((await fetch(`${url}/health/live`)).status).toBe(200);
});

it('names its variable when the port is taken', async () => {
  const url = await start(() => true);
  const port = Number(new URL(url).port);
  await expect(
    startHealthServer(
      port,
      options(() => true),
    ),
  ).rejects.toMatchObject({
    lines: [`HEALTH_PORT: port ${port} is in use; choose another`],
  });
});

it('closes although a client keeps its connection', async () => {
  const url = await start(() => true);
  await (await fetch(`${url}/health/live`)).text();
  for (const server of open.splice(0)) await server.close();
  await expect(fetch(`${url}/health/live`)).rejects.toThrow('fetch failed');
});
