import { RateLimiterMemory, RateLimiterRedis } from 'rate-limiter-flexible';
import { rateLimited } from './limit-reached.ts';
import type { LimitStore } from './limit-store.ts';

/** What is counted per minute. */
export type RateUnit = 'requests' | 'characters' | 'audio-seconds';

/** A tenant's minute: it begins with its first use. */
export interface RateUsage {
  limit: number;
  used: number;
  /** Until it begins anew, ms. */
  resetMs: number;
}

/** A counter in Redis, and the most that it may say. */
export interface CounterBound {
  key: string;
  most: number;
}

interface Counters {
  ofAll: RateLimiterRedis;
  /** While Redis is away or silent. */
  own: RateLimiterMemory;
}

const WINDOW_SECONDS = 60;

/**
 * What tenants used within the minute, over all gateways; while Redis is away, of this one alone.
 * Limits are the caller's: they differ by key. Only what spends throws.
 */
export class RateLimits {
  readonly #store: LimitStore;
  readonly #counters: Record<RateUnit, Counters>;

  constructor(store: LimitStore) {
    this.#store = store;
    const counter = (unit: RateUnit) => {
      const options = { points: Number.MAX_SAFE_INTEGER, duration: WINDOW_SECONDS };
      const ofAll = new RateLimiterRedis({
        ...options,
        storeClient: store.redis,
        keyPrefix: `antiphon:rate:${unit}`,
        rejectIfRedisNotReady: true,
      });
      return { ofAll, own: new RateLimiterMemory(options) };
    };
    this.#counters = {
      requests: counter('requests'),
      characters: counter('characters'),
      'audio-seconds': counter('audio-seconds'),
    };
  }

  /** Counts `amount`, a whole number, whether or not that is over the limit. One round trip. */
  async use(unit: RateUnit, tenantId: string, amount: number, limit: number): Promise<RateUsage> {
    const { consumedPoints, msBeforeNext } = await this.#ask(unit, (counter) =>
      counter.consume(tenantId, amount),
    );
    return { limit, used: consumedPoints, resetMs: msBeforeNext };
  }

  /** Counts nothing. */
  async look(unit: RateUnit, tenantId: string, limit: number): Promise<RateUsage> {
    const found = await this.#ask(unit, (counter) => counter.get(tenantId));
    return { limit, used: found?.consumedPoints ?? 0, resetMs: found?.msBeforeNext ?? 0 };
  }

  /**
   * Counts `amount` unless it goes over the limit: then `rate_limit_exceeded`, and less may still
   * be used.
   */
  async spend(unit: RateUnit, tenantId: string, amount: number, limit: number): Promise<void> {
    const usage = await this.use(unit, tenantId, amount, limit);
    if (usage.used <= limit) return;
    await this.giveBack(unit, tenantId, amount);
    throw rateLimited(unit, { ...usage, used: usage.used - amount }, amount);
  }

  /** What was counted and not used after all. */
  async giveBack(unit: RateUnit, tenantId: string, amount: number): Promise<void> {
    await this.#ask(unit, (counter) => counter.reward(tenantId, amount));
  }

  /** For who looks at the same time, in a script: the counter may not be beyond `most`. */
  bound(unit: RateUnit, tenantId: string, most: number): CounterBound {
    return { key: this.#counters[unit].ofAll.getKey(tenantId), most };
  }

  #ask<Answer>(
    unit: RateUnit,
    question: (counter: RateLimiterRedis | RateLimiterMemory) => Promise<Answer>,
  ): Promise<Answer> {
    const { ofAll, own } = this.#counters[unit];
    return this.#store.ask(() => question(ofAll)).catch(() => question(own));
  }
}
