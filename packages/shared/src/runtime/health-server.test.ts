import { freePort } from '@antiphon/testing/redis';
import { afterEach, expect, it } from 'vitest';
import { type HealthServer, startHealthServer } from './health-server.ts';

const open: HealthServer[] = [];
afterEach(async () => {
  for (const server of open.splice(0)) await server.close();
});
async function start(isReady: () => boolean): Promise<string> {
  const port = await freePort();
  open.push(await startHealthServer(port, isReady));
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

it('names its variable when the port is taken', async () => {
  const url = await start(() => true);
  const port = Number(new URL(url).port);
  await expect(startHealthServer(port, () => true)).rejects.toMatchObject({
    lines: [`HEALTH_PORT: port ${port} is in use; choose another`],
  });
});

it('closes although a client keeps its connection', async () => {
  const url = await start(() => true);
  await (await fetch(`${url}/health/live`)).text();
  for (const server of open.splice(0)) await server.close();
  await expect(fetch(`${url}/health/live`)).rejects.toThrow('fetch failed');
});
