import { once } from 'node:events';
import { type IncomingMessage, type ServerResponse, createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import { createLogger } from '@antiphon/shared/runtime/logger';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ClientConnection } from './client-connection.ts';
import { PlainTextResponse } from './plain-text-response.ts';

const logger = createLogger('gateway', 'silent');
let answer: (outgoing: ServerResponse) => void;
const server = createServer((_incoming, outgoing) => answer(outgoing));
let port: number;
beforeAll(async () => {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  ({ port } = server.address() as AddressInfo);
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});

/** One answer, and the chunks that its client gets. */
async function ask(write: (text: PlainTextResponse, outgoing: ServerResponse) => Promise<void>) {
  const written = Promise.withResolvers<void>();
  written.promise.catch(() => undefined); // the test looks at it at the end
  answer = (outgoing) => {
    const connection = new ClientConnection(outgoing, { writeStallMs: 5000 });
    const identity = { requestId: 'r1', streamId: 's1', receivedAtMs: 0 };
    const text = new PlainTextResponse({ connection, logger, ...identity });
    write(text, outgoing).then(written.resolve, (error: unknown) => {
      outgoing.writeHead(500).end();
      written.reject(error);
    });
  };
  const asked = request({ port, host: '127.0.0.1', agent: false }).end();
  const [incoming] = (await once(asked, 'response')) as [IncomingMessage];
  const chunks: Buffer[] = [];
  const read = async () => {
    for await (const chunk of incoming) chunks.push(chunk as Buffer);
  };
  const complete = await read().then(
    () => true,
    () => false,
  );
  return { incoming, complete, body: Buffer.concat(chunks).toString(), written: written.promise };
}

it('is the text, chunked, with the headers of a stream', async () => {
  const { incoming, complete, body } = await ask(async (text) => {
    for (const piece of ['Grüße, ', '', '世界']) await text.write(piece);
    text.end();
    text.end();
    await text.write('more');
  });
  expect({ complete, body }).toEqual({ complete: true, body: 'Grüße, 世界' });
  expect(incoming.headers).toMatchObject({
    'content-type': 'text/plain; charset=utf-8',
    'transfer-encoding': 'chunked',
    'cache-control': 'no-store',
    'x-stream-id': 's1',
    'x-request-id': 'r1',
  });
});

it('keeps a character together that comes in two halves', async () => {
  const pieces = ['a\ud83d', '\ude00b', '\ud83d', '\ude01'];
  const { body } = await ask(async (text) => {
    for (const piece of pieces) await text.write(piece);
    text.end();
  });
  expect(body).toBe('a😀b😁');
});

it('of half a character that never became whole says so', async () => {
  const { body } = await ask(async (text) => {
    await text.write('a\ud83d');
    text.end();
  });
  expect(body).toBe('a\ufffd');
});

it('holds its status until the first text', async () => {
  const { incoming, written } = await ask(async (text, outgoing) => {
    await text.write('');
    await text.write('\ud83d');
    expect(outgoing.headersSent).toBe(false);
    text.fail(new VoiceError('upstream_timeout'));
  });
  expect(incoming.statusCode).toBe(500);
  await expect(written).rejects.toMatchObject({ code: 'upstream_timeout' });
});

it('that fails in the middle is cut off', async () => {
  const { complete, body, written } = await ask(async (text) => {
    await text.write('half');
    text.fail(new VoiceError('upstream_timeout'));
    text.fail(new VoiceError('stream_cancelled'));
    await text.write('more');
  });
  expect({ complete, body }).toEqual({ complete: false, body: 'half' });
  await written;
});

it('that was complete stays so, whatever fails behind it', async () => {
  const { complete, body, written } = await ask(async (text) => {
    await text.write('whole');
    text.end();
    text.fail(new VoiceError('stream_cancelled'));
  });
  expect({ complete, body }).toEqual({ complete: true, body: 'whole' });
  await written;
});

it('without a word is an empty 200', async () => {
  const { incoming, body } = await ask(async (text) => text.end());
  expect({ status: incoming.statusCode, body }).toEqual({ status: 200, body: '' });
});
