import { gatewayKey } from '@antiphon/shared/streams/stream-key';
import type { Redis } from 'ioredis';

/** With the workers' looks (every 5 s, and again 2 s later) a dead gateway's streams end within 15 s. */
const LEASE_MS = 8000;
const RENEW_MS = 2000;

/** Says that this gateway lives; workers stop the streams of one that does not. */
export class GatewayLease {
  readonly #redis: Redis;
  readonly #key: string;
  readonly #onError: (error: Error) => void;
  #timer: NodeJS.Timeout | undefined;

  constructor(redis: Redis, gatewayId: string, onError: (error: Error) => void) {
    this.#redis = redis;
    this.#key = gatewayKey(gatewayId);
    this.#onError = onError;
  }

  async start(): Promise<void> {
    await this.#renew();
    // The lease may have run out while Redis was away.
    this.#redis.on('ready', this.#renewSoon);
    this.#timer = setInterval(this.#renewSoon, RENEW_MS);
    this.#timer.unref();
  }

  async release(): Promise<void> {
    clearInterval(this.#timer);
    this.#redis.off('ready', this.#renewSoon);
    await this.#redis.del(this.#key).catch(this.#onError);
  }

  readonly #renewSoon = (): void => {
    this.#renew().catch(this.#onError);
  };

  async #renew(): Promise<void> {
    await this.#redis.set(this.#key, Date.now(), 'PX', LEASE_MS);
  }
}
