import type { Redis } from 'ioredis';
import { Counter, type Registry, collectDefaultMetrics } from 'prom-client';

/** Event loop lag, memory, CPU, collections and handles of this process. Once per process. */
export function collectProcessMetrics(registry: Registry): void {
  collectDefaultMetrics({ register: registry });
}

/** Counts how often a connection was lost and made anew, by what it is for. */
export function countReconnects(registry: Registry, connections: Record<string, Redis>): void {
  const reconnects = new Counter({
    name: 'antiphon_redis_reconnects_total',
    help: 'Attempts to connect to Redis again after a connection was lost',
    labelNames: ['connection'],
    registers: [registry],
  });
  for (const [connection, redis] of Object.entries(connections)) {
    reconnects.inc({ connection }, 0);
    redis.on('reconnecting', () => reconnects.inc({ connection }));
  }
}
