import type { Redis } from 'ioredis';
import { defineStreamScripts, type ScriptedRedis } from '../streams/stream-scripts.ts';
import { OPEN_BATCHES_KEY } from './batch-key.ts';

/** How often a keeper says that it is there. */
export const KEEP_MS = 2000;
/** A keeper that was not seen for so long is dead. */
const STALE_MS = 5000;

/**
 * Which batches are not over, and who keeps them: the gateway that took them first, or, when it
 * dies, the next one that looks. All methods reject with ioredis' errors when Redis is away.
 */
export class KeptBatches {
  readonly #redis: ScriptedRedis;

  constructor(redis: Redis) {
    this.#redis = defineStreamScripts(redis);
  }

  /** Says that this gateway keeps these batches; every `KEEP_MS`. */
  async keep(batchIds: string[]): Promise<void> {
    if (batchIds.length > 0) await this.#redis.antiphonKeep(OPEN_BATCHES_KEY, ...batchIds);
  }

  /** Up to `most` batches that nobody keeps; from now on they are the caller's. */
  async adopt(most: number): Promise<string[]> {
    return most > 0 ? this.#redis.antiphonAdopt(OPEN_BATCHES_KEY, STALE_MS, most) : [];
  }

  /** How many nobody keeps: what `adopt` would give. */
  async countUnkept(): Promise<number> {
    const [seconds] = await this.#redis.time();
    const before = Number(seconds) * 1000 - STALE_MS;
    return this.#redis.zcount(OPEN_BATCHES_KEY, '-inf', `(${before}`);
  }

  /** It is over. */
  async forget(batchId: string): Promise<void> {
    await this.#redis.zrem(OPEN_BATCHES_KEY, batchId);
  }

  /** Leaves batches to whoever looks next. */
  async handOver(batchIds: string[]): Promise<void> {
    if (batchIds.length === 0) return;
    const scores = batchIds.flatMap((batchId) => ['0', batchId]);
    await this.#redis.zadd(OPEN_BATCHES_KEY, 'XX', ...scores);
  }
}
