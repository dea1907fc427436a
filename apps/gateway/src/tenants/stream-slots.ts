import { readFileSync } from 'node:fs';
import type { Redis } from 'ioredis';
import type { LimitStore } from './limit-store.ts';
import type { CounterBound } from './rate-limits.ts';

/** A gateway that died holds its places for so long. */
const LEASE_MS = 10_000;
/** Several times within a lease: one lost renewal frees nothing. */
const RENEWALS = 4;

interface SlotScripts {
  antiphonTakeSlot(keyCount: number, ...keysAndValues: (string | number)[]): Promise<number>;
  antiphonRenewSlots(keyCount: 1, key: string, leaseMs: number, ...ids: string[]): Promise<number>;
}

const slotsKey = (tenantId: string): string => `antiphon:tenant:${tenantId}:slots`;

/**
 * How many streams each tenant has at once, over all gateways: places with leases in Redis, renewed
 * while this process lives. While Redis is away or silent, by what this process knows.
 */
export class StreamSlots {
  readonly #store: LimitStore;
  readonly #redis: Redis & SlotScripts;
  readonly #leaseMs: number;
  readonly #onError: (error: Error) => void;
  readonly #held = new Map<string, Set<string>>();
  readonly #timer: NodeJS.Timeout;

  constructor(store: LimitStore, onError: (error: Error) => void, leaseMs = LEASE_MS) {
    this.#store = store;
    this.#redis = defineSlotScripts(store.redis);
    this.#onError = onError;
    this.#leaseMs = leaseMs;
    this.#timer = setInterval(() => void this.#renew(), leaseMs / RENEWALS);
    this.#timer.unref();
  }

  /**
   * Whether there was a place; `id` frees it. Undefined when a counter is beyond its bound: whether
   * there is one was not looked for. Never rejects.
   */
  async take(
    tenantId: string,
    id: string,
    limit: number,
    bounds: readonly CounterBound[] = [],
  ): Promise<boolean | undefined> {
    const key = slotsKey(tenantId);
    const keys = [key, ...bounds.map((bound) => bound.key)];
    const values = [id, limit, this.#leaseMs, ...bounds.map(({ most }) => most)];
    const answered = this.#store
      .ask(() => this.#redis.antiphonTakeSlot(keys.length, ...keys, ...values))
      .catch(() => undefined);
    const used = (await answered) ?? this.#held.get(tenantId)?.size ?? 0;
    if (used < 0) return undefined;
    if (used >= limit) return false;
    this.#held.set(tenantId, (this.#held.get(tenantId) ?? new Set()).add(id));
    return true;
  }

  /** Takes a place whether or not there is one: for a stream that runs already. Never rejects. */
  async hold(tenantId: string, id: string): Promise<void> {
    this.#held.set(tenantId, (this.#held.get(tenantId) ?? new Set()).add(id));
    await this.#redis
      .antiphonRenewSlots(1, slotsKey(tenantId), this.#leaseMs, id)
      .catch(this.#onError); // the next renewal tries again
  }

  /** Not awaited by anybody: a place that could not be freed is free when its lease runs out. */
  free(tenantId: string, id: string): void {
    const held = this.#held.get(tenantId);
    if (!held?.delete(id)) return;
    if (held.size === 0) this.#held.delete(tenantId);
    this.#redis.zrem(slotsKey(tenantId), id).catch(() => undefined);
  }

  close(): void {
    clearInterval(this.#timer);
  }

  async #renew(): Promise<void> {
    const renewals = [...this.#held].map(([tenantId, ids]) =>
      this.#redis.antiphonRenewSlots(1, slotsKey(tenantId), this.#leaseMs, ...ids),
    );
    await Promise.all(renewals).catch(this.#onError);
  }
}

function defineSlotScripts(redis: Redis): Redis & SlotScripts {
  for (const [command, file] of [
    ['antiphonTakeSlot', 'take-slot.lua'],
    ['antiphonRenewSlots', 'renew-slots.lua'],
  ] as const) {
    const lua = readFileSync(new URL(file, import.meta.url), 'utf8');
    redis.defineCommand(command, { lua });
  }
  return redis as Redis & SlotScripts;
}
