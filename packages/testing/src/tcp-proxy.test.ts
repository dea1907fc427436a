import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { startTcpProxy, type TcpProxy } from './tcp-proxy.ts';
import { until } from './until.ts';

let server: Server;
let proxy: TcpProxy;
/** What came to the server, which sends everything back. */
let arrived: string;
let clients: Socket[];

beforeEach(async () => {
  arrived = '';
  clients = [];
  server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.on('data', (piece: Buffer) => {
      arrived += piece.toString();
      socket.write(piece);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  proxy = await startTcpProxy((server.address() as AddressInfo).port);
});
afterEach(async () => {
  for (const client of clients) client.destroy();
  await proxy.close();
  server.close();
});

async function openClient() {
  const socket = connect(proxy.port, '127.0.0.1');
  clients.push(socket);
  let received = '';
  let error: NodeJS.ErrnoException | undefined;
  socket.on('data', (piece: Buffer) => {
    received += piece.toString();
  });
  socket.on('error', (thrown) => {
    error = thrown;
  });
  await once(socket, 'connect');
  await until(() => proxy.connections().length === clients.length);
  return { socket, received: () => received, error: () => error };
}

it('passes bytes both ways, and the end of them', async () => {
  const { socket, received } = await openClient();
  const large = 'x'.repeat(1_000_000);
  socket.end(large);
  await until(() => received().length === large.length);
  expect(received()).toBe(large);
  await until(() => proxy.connections().length === 0);
});

it('resets all connections, or one', async () => {
  const [one, other] = [await openClient(), await openClient()];
  proxy.connections()[0]?.reset();
  await until(() => one.error()?.code === 'ECONNRESET');
  other.socket.write('alive');
  await until(() => other.received() === 'alive');
  expect(other.error()).toBeUndefined();
  proxy.resetAll();
  await until(() => other.error()?.code === 'ECONNRESET');
});

it('refuses by a reset', async () => {
  proxy.refuse(true);
  const socket = connect(proxy.port, '127.0.0.1');
  const [error] = (await once(socket, 'error')) as [NodeJS.ErrnoException];
  expect(error.code).toBe('ECONNRESET');
});

it('holds everything back in a blackhole, and delivers it in order when it opens', async () => {
  const { socket, received } = await openClient();
  proxy.setMode({ type: 'blackhole' });
  socket.write('one ');
  await delay(50);
  socket.write('two');
  await delay(50);
  expect(arrived).toBe('');
  proxy.setMode({ type: 'pass' });
  await until(() => received() === 'one two');
});

it('half-open: what is asked arrives, no answer does', async () => {
  const { socket, received } = await openClient();
  proxy.setMode({ type: 'half-open' });
  socket.write('asked');
  await until(() => arrived === 'asked');
  await delay(50);
  expect(received()).toBe('');
});

it('loses connections for good, without a word; later ones pass', async () => {
  const lost = await openClient();
  lost.socket.write('before');
  await until(() => lost.received() === 'before');
  proxy.loseAll();
  lost.socket.write(' after');
  proxy.setMode({ type: 'pass' });
  const later = await openClient();
  later.socket.write(' later');
  await until(() => later.received() === ' later');
  lost.socket.end();
  await delay(50);
  expect([arrived, lost.received(), lost.error()]).toEqual(['before later', 'before', undefined]);
});

it('delays without changing the order', async () => {
  const { socket, received } = await openClient();
  proxy.setMode({ type: 'latency', ms: 100 });
  const sentAtMs = performance.now();
  socket.write('slow ');
  await until(() => arrived === 'slow ');
  expect(performance.now() - sentAtMs).toBeGreaterThan(99);
  proxy.setMode({ type: 'pass' });
  socket.write('fast');
  await until(() => received() === 'slow fast');
});

it('cuts after a number of bytes, which still arrive', async () => {
  const { socket, received, error } = await openClient();
  proxy.connections()[0]?.cutAfter(6);
  socket.write('123');
  await until(() => received() === '123');
  socket.write('456789');
  await until(() => error()?.code === 'ECONNRESET');
  expect(received()).toBe('123456');
});
