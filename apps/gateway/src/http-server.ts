import { once } from 'node:events';
import { type Server, type ServerResponse, STATUS_CODES } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { ErrorCode } from '@antiphon/shared/errors/error-catalog';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import { createAdaptorServer } from '@hono/node-server';
import type { OpenAPIHono } from '@hono/zod-openapi';
import type { GatewayEnv } from './gateway-context.ts';
import { createRequestId } from './middleware/request-id.ts';
import type { StreamWatch } from './replies/stream-watch.ts';
import type { WatchedStream } from './replies/watched-stream.ts';

export interface ListeningServer {
  port: number;
  /** Sockets that are open, idle ones included. */
  connectionCount(): Promise<number>;
  /**
   * Lets requests and streams end for `drainMs`, then ends streams with an error; listens meanwhile,
   * so that who asks is told 503 and what runs can be stopped. Over within 1.5 s from then on.
   */
  drain(watch: StreamWatch, drainMs: number): Promise<void>;
}

/** For the last streams to write their errors. */
const LAST_WORDS_MS = 1000;
/** For sockets to take what was written. */
const LAST_BYTES_MS = 500;

/**
 * Slow headers and dead peers cost a bounded time. Keep-alive is above that of usual load
 * balancers (60 s): with Node's 5 s they see resets on reused connections. Headers: a key of 16 KB
 * is still told that it is wrong, 20 KB are refused. Bodies have shorter times of their own, where
 * they are read; a file of 200 MB may take all of this one (1 Mbit/s).
 */
const SERVER_OPTIONS = {
  headersTimeout: 15_000,
  requestTimeout: 1_800_000,
  keepAliveTimeout: 75_000,
  connectionsCheckingInterval: 5000,
  maxHeaderSize: 18_432,
};

export interface ListenOptions {
  /** 0 takes a free one. */
  port: number;
  host: string;
  /** Sockets that may be open; more are closed as soon as they are there, without an answer. */
  maxConnections: number;
  /** Called for each socket above that. */
  onDrop: () => void;
}

/** Listens; rejects with EADDRINUSE. */
export async function listen(
  app: OpenAPIHono<GatewayEnv>,
  { port, host, maxConnections, onDrop }: ListenOptions,
): Promise<ListeningServer> {
  const server = createAdaptorServer({
    fetch: app.fetch,
    serverOptions: SERVER_OPTIONS,
  }) as Server;
  server.on('clientError', answerMalformed);
  server.maxConnections = maxConnections;
  server.on('drop', onDrop);
  const requests = new Set<ServerResponse>();
  let draining = false;
  // Before the app's own listener, whose answer it is about.
  server.prependListener('request', (_request, response: ServerResponse) => {
    requests.add(response);
    response.once('close', () => requests.delete(response));
    if (draining) response.shouldKeepAlive = false; // the next one goes to another gateway
  });
  server.listen(port, host);
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    connectionCount: promisify(server.getConnections.bind(server)),
    async drain(watch, drainMs) {
      draining = true;
      const ended = async (withinMs: number, roles: WatchedStream['role'][]) => {
        const untilMs = performance.now() + withinMs;
        const isAwaited = ({ role }: WatchedStream) => roles.includes(role);
        const isBusy = () => requests.size > 0 || [...watch.streams].some(isAwaited);
        while (isBusy() && performance.now() < untilMs) await delay(50);
      };
      // Kept streams go on elsewhere; those who read them here are cut, and come back there.
      await ended(drainMs, ['owner', 'follower']);
      const closed = once(server, 'close');
      server.close();
      server.closeIdleConnections();
      for (const stream of watch.streams) {
        if (stream.role !== 'owner') continue;
        stream.ended = true;
        void watch.end(stream, new VoiceError('server_shutting_down'));
      }
      await ended(LAST_WORDS_MS, ['owner']);
      await Promise.race([closed, delay(LAST_BYTES_MS)]);
      server.closeAllConnections();
    },
  };
}

/** What Node's parser refuses, before any route: its own answers have no body and no request id. */
function answerMalformed(error: NodeJS.ErrnoException, socket: Duplex): void {
  const { _httpMessage: current } = socket as { _httpMessage?: ServerResponse };
  if (!socket.writable || current?.headersSent) {
    socket.destroy();
    return;
  }
  const failure = new VoiceError(MALFORMED_CODES[error.code ?? ''] ?? 'malformed_request');
  const { status } = failure.definition;
  const body = JSON.stringify(failure.toBody());
  const head = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    'content-type: application/json',
    `content-length: ${Buffer.byteLength(body)}`,
    `x-request-id: ${createRequestId()}`,
    'connection: close',
  ];
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`);
}

const MALFORMED_CODES: Record<string, ErrorCode> = {
  HPE_HEADER_OVERFLOW: 'headers_too_large',
  ERR_HTTP_REQUEST_TIMEOUT: 'request_timeout',
};
