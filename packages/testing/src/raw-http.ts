import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { PATIENCE } from './until.ts';

/** Answers read from one connection, and how it ended. */
export interface RawExchange {
  responses: Response[];
  /** All bytes that came. */
  bytes: Buffer;
  socket: Socket;
}

export interface RawHttpOptions {
  /** How many answers are awaited; 1 unless told. */
  count?: number;
  timeoutMs?: number;
}

/**
 * Writes bytes to a port as they are (no HTTP library in between would) and reads the answers.
 * Resolves when `count` answers are whole or the server has closed; the socket is then destroyed.
 */
export async function rawHttp(
  port: number,
  parts: (string | Buffer)[],
  { count = 1, timeoutMs = 5000 }: RawHttpOptions = {},
): Promise<RawExchange> {
  const socket = connect(port, '127.0.0.1');
  const received: Buffer[] = [];
  const timer = setTimeout(() => {
    socket.destroy(new Error(`No whole answer within ${timeoutMs * PATIENCE} ms`));
  }, timeoutMs * PATIENCE);
  let responses: Response[] = [];
  socket.on('data', (part: Buffer) => {
    received.push(part);
    responses = parseResponses(Buffer.concat(received));
    if (responses.length >= count) socket.destroy();
  });
  const closed = once(socket, 'close');
  await once(socket, 'connect');
  for (const part of parts) {
    if (socket.destroyed) break;
    if (!socket.write(part)) await Promise.race([once(socket, 'drain').catch(() => 0), closed]);
  }
  await closed
    .finally(() => clearTimeout(timer))
    .catch((error: NodeJS.ErrnoException) => {
      // The server may cut what it has answered already.
      if (error.code !== 'ECONNRESET' && error.code !== 'EPIPE') throw error;
    });
  return { responses, bytes: Buffer.concat(received), socket };
}

/** Whole answers at the start of `bytes`; those of 1xx are passed over. */
function parseResponses(bytes: Buffer): Response[] {
  const found: Response[] = [];
  let rest = bytes;
  for (;;) {
    const headEnd = rest.indexOf('\r\n\r\n');
    if (headEnd < 0) return found;
    const [statusLine = '', ...lines] = rest.toString('latin1', 0, headEnd).split('\r\n');
    const status = Number(statusLine.split(' ', 2)[1]);
    const headers = new Headers(
      lines.map((line): [string, string] => {
        const colon = line.indexOf(':');
        return [line.slice(0, colon), line.slice(colon + 1).trim()];
      }),
    );
    rest = rest.subarray(headEnd + 4);
    if (status < 200) continue;
    const body = takeBody(rest, headers);
    if (!body) return found;
    found.push(
      new Response(status === 204 ? null : new Uint8Array(body.bytes), { status, headers }),
    );
    rest = body.rest;
  }
}

function takeBody(rest: Buffer, headers: Headers): { bytes: Buffer; rest: Buffer } | undefined {
  if (headers.get('transfer-encoding') === 'chunked') return takeChunks(rest);
  const length = Number(headers.get('content-length') ?? 0);
  if (rest.length < length) return undefined;
  return { bytes: rest.subarray(0, length), rest: rest.subarray(length) };
}

function takeChunks(source: Buffer): { bytes: Buffer; rest: Buffer } | undefined {
  const parts: Buffer[] = [];
  let rest = source;
  for (;;) {
    const lineEnd = rest.indexOf('\r\n');
    if (lineEnd < 0) return undefined;
    const length = Number.parseInt(rest.toString('latin1', 0, lineEnd), 16);
    if (rest.length < lineEnd + 4 + length) return undefined;
    parts.push(rest.subarray(lineEnd + 2, lineEnd + 2 + length));
    rest = rest.subarray(lineEnd + 4 + length);
    if (length === 0) return { bytes: Buffer.concat(parts), rest };
  }
}
