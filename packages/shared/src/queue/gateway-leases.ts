import { setTimeout as delay } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import { gatewayKey } from '../streams/stream-key.ts';

/** How often the gateways of running streams are looked for; a dead one's streams end within 15 s. */
export const LEASE_CHECK_MS = 5000;
/** A missing lease is looked for again: after an outage of Redis the gateway needs a moment to renew it. */
const LEASE_CONFIRM_MS = 2000;

/**
 * Which gateways live: those with a lease. A kept stream is its own gateway. All methods reject with
 * ioredis' errors when Redis is away.
 */
export class GatewayLeases {
  readonly #redis: Redis;

  constructor(redis: Redis) {
    this.#redis = redis;
  }

  async isLive(gatewayId: string): Promise<boolean> {
    if (await this.#hasLease(gatewayId)) return true;
    await delay(LEASE_CONFIRM_MS);
    return this.#hasLease(gatewayId);
  }

  /** Those of them that are dead; all are looked for at once, and again at once. */
  async findDead(gatewayIds: Iterable<string>): Promise<string[]> {
    const looked = [...new Set(gatewayIds)].map(async (gatewayId) =>
      (await this.isLive(gatewayId)) ? [] : [gatewayId],
    );
    return (await Promise.all(looked)).flat();
  }

  async #hasLease(gatewayId: string): Promise<boolean> {
    return (await this.#redis.exists(gatewayKey(gatewayId))) === 1;
  }
}
