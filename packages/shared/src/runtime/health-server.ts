import { once } from 'node:events';
import { createServer } from 'node:http';
import { ConfigError } from './load-config.ts';

export interface HealthServer {
  close(): Promise<void>;
}

/** `/health/live` and `/health/ready` of a worker, on all interfaces: an orchestrator asks from outside. */
export async function startHealthServer(
  port: number,
  isReady: () => boolean,
): Promise<HealthServer> {
  const server = createServer((request, response) => {
    const known = request.url === '/health/live' || request.url === '/health/ready';
    const status = !known ? 404 : request.url === '/health/live' || isReady() ? 200 : 503;
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ status: status === 200 ? 'ok' : 'unavailable' }));
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
