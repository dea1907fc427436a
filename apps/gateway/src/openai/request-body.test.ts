import { once } from 'node:events';
import { type IncomingMessage, createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, it } from 'vitest';
import { readBody } from './request-body.ts';

/** What becomes of a body of which `sent` comes and then no more. */
async function readStalled(sent: string, timeoutMs: number): Promise<unknown> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const client = request({ port, host: '127.0.0.1', method: 'POST' });
  client.on('error', () => undefined); // it is cut
  client.write(sent);
  const [incoming] = (await once(server, 'request')) as [IncomingMessage];
  const fault = await readBody(incoming, 100, timeoutMs).catch((error: unknown) => error);
  client.destroy();
  server.close();
  server.closeAllConnections();
  return fault;
}

it('a body that does not end is not waited for', async () => {
  expect(await readStalled('{"a":', 50)).toMatchObject({ code: 'request_timeout' });
});
