import { once } from 'node:events';
import { type Server, createServer } from 'node:http';
import { type AddressInfo, type Socket, connect } from 'node:net';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import { until } from '@antiphon/testing/until';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ClientConnection, ClientLeft } from './client-connection.ts';

let server: Server;
let socket: Socket;
let connection: ClientConnection;

/** A client that has asked and reads nothing yet. */
async function accept(writeStallMs: number): Promise<void> {
  const accepted = once(server, 'request');
  socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  socket.on('error', () => undefined);
  socket.pause();
  socket.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n');
  const [, outgoing] = await accepted;
  connection = new ClientConnection(outgoing, { writeStallMs });
  connection.start(200, { 'content-type': 'audio/mpeg' });
}

beforeEach(async () => {
  server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
});
afterEach(async () => {
  socket.destroy();
  server.closeAllConnections();
  server.close();
  await once(server, 'close');
});

describe('write', () => {
  it('waits for a client that does not read, and goes on when it does', async () => {
    await accept(60_000);
    let written = 0;
    const writing = (async () => {
      for (; written < 300; written += 1) await connection.write(Buffer.alloc(65_536));
      connection.end();
    })();
    let steady = 0;
    let before = -1;
    await until(
      () => {
        steady = written === before ? steady + 1 : 0;
        before = written;
        return steady > 10;
      },
      { intervalMs: 20, what: 'writes to stand still' },
    );
    expect(written).toBeLessThan(250);
    let received = 0;
    socket.on('data', (part: Buffer) => {
      received += part.length;
    });
    socket.resume();
    await writing;
    await until(() => received > 300 * 65_536);
    expect(connection.bodyBytes).toBe(300 * 65_536);
    expect(connection.left.aborted).toBe(false);
  }, 20_000);

  it('throws write_stall_timeout when nothing is taken in time', async () => {
    await accept(200);
    await expect(connection.write(Buffer.alloc(40_000_000))).rejects.toMatchObject({
      code: 'write_stall_timeout',
    });
  });

  it('takes a client that reads slowly but steadily for no stall', async () => {
    await accept(400);
    let received = 0;
    const startedMs = performance.now();
    socket.on('data', (part: Buffer) => {
      received += part.length;
      socket.pause();
      setTimeout(() => socket.resume(), 5);
    });
    socket.resume();
    await connection.write(Buffer.alloc(16_000_000));
    connection.end();
    const tookMs = performance.now() - startedMs;
    await until(() => received > 16_000_000);
    expect(tookMs).toBeGreaterThan(400); // else this test shows nothing
  }, 60_000);

  it('throws ClientLeft when the client leaves meanwhile, and ever after', async () => {
    await accept(60_000);
    const writing = connection.write(Buffer.alloc(40_000_000));
    socket.destroy();
    await expect(writing).rejects.toThrow(ClientLeft);
    expect(connection.left.aborted).toBe(true);
    await expect(connection.write(Buffer.alloc(1))).rejects.toThrow(ClientLeft);
  });
});

describe('stop', () => {
  it('ends a write that waits, and tells how far it came', async () => {
    await accept(60_000);
    const error = new VoiceError('stream_cancelled');
    const writing = connection.write(Buffer.alloc(40_000_000));
    await until(() => connection.bodyBytes > 0);
    connection.stop(error);
    await expect(writing).rejects.toBe(error);
    const { bodyBytes } = connection;
    expect(bodyBytes).toBeLessThan(40_000_000);
    await expect(connection.write(Buffer.alloc(1))).rejects.toBe(error);
    expect(connection.bodyBytes).toBe(bodyBytes);
    let received = 0;
    socket.on('data', (part: Buffer) => {
      received += part.length;
    });
    socket.resume();
    connection.end(Buffer.from('the last words'));
    await until(() => received > bodyBytes);
    expect(connection.left.aborted).toBe(false);
  });
});

describe('end', () => {
  it('is no leaving of the client', async () => {
    await accept(60_000);
    const closed = once(socket, 'close');
    socket.resume();
    socket.on('data', (part: Buffer) => {
      if (part.includes('\r\n0\r\n\r\n')) socket.destroy(); // it has all
    });
    connection.end(Buffer.from('x'));
    await closed;
    expect(connection.left.aborted).toBe(false);
  });

  it('cuts off a client that never takes the rest', async () => {
    await accept(200);
    connection.end(Buffer.alloc(40_000_000));
    await until(() => connection.left.aborted);
    expect(connection.left.reason).toBeInstanceOf(ClientLeft);
  });
});

it('destroy is never a clean end', async () => {
  await accept(60_000);
  let heard = '';
  socket.on('data', (part: Buffer) => {
    heard += part.toString('latin1');
  });
  socket.resume();
  await connection.write(Buffer.from('audio'));
  await until(() => heard.includes('audio'));
  connection.destroy();
  await once(socket, 'close');
  expect(heard).not.toContain('\r\n0\r\n\r\n');
});
