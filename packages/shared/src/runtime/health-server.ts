import { once } from 'node:events';
import { type IncomingMessage, type ServerResponse, createServer } from 'node:http';
import type { Registry } from 'prom-client';
import { ADMIN_CHALLENGE, type AdminAccess } from './admin-access.ts';
import { ConfigError } from './load-config.ts';

export interface HealthServer {
  close(): Promise<void>;
}

export interface HealthServerOptions {
  isReady: () => boolean;
  /** `GET /metrics`. */
  metrics: { registry: Registry; access: AdminAccess };
}

/**
 * `/health/live`, `/health/ready` and, for whom `access` admits, `/metrics` of a worker, on all
 * interfaces: an orchestrator asks from outside.
 */
export async function startHealthServer(
  port: number,
  options: HealthServerOptions,
): Promise<HealthServer> {
  const server = createServer((request, response) => {
    if (request.url === '/metrics') void answerMetrics(request, response, options.metrics);
    else answerHealth(request, response, options.isReady);
  });
  server.listen(port);
  await once(server, 'listening').catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EADDRINUSE') throw error;
    throw new ConfigError([`HEALTH_PORT: port ${port} is in use; choose another`]);
  });
  return {
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

function answerHealth(
  { url }: IncomingMessage,
  response: ServerResponse,
  isReady: () => boolean,
): void {
  const known = url === '/health/live' || url === '/health/ready';
  sendStatus(response, !known ? 404 : url === '/health/live' || isReady() ? 200 : 503);
}

function sendStatus(response: ServerResponse, status: number, headers = {}): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(JSON.stringify({ status: status === 200 ? 'ok' : 'unavailable' }));
}

async function answerMetrics(
  request: IncomingMessage,
  response: ServerResponse,
  { registry, access }: HealthServerOptions['metrics'],
): Promise<void> {
  const admittance = access.judge(request);
  if (admittance === 'hidden') return sendStatus(response, 404);
  if (admittance === 'refused')
    return sendStatus(response, 401, { 'www-authenticate': ADMIN_CHALLENGE });
  const text = await registry.metrics();
  response.writeHead(200, { 'content-type': registry.contentType, 'cache-control': 'no-store' });
  response.end(text);
}
