import type { Redis } from 'ioredis';
import { redisNowMs } from './redis-clock.ts';
import { gatewayKey, KEPT_STREAMS_KEY, presenceKey } from './stream-key.ts';
import { defineStreamScripts, type ScriptedRedis } from './stream-scripts.ts';

/** Life of a stream's own lease; workers look as they do for a gateway's. */
const LEASE_MS = 8000;
/** A keeper that was not seen for so long is dead. Below the lease: workers must not see it run out. */
const STALE_MS = 5000;
/** At a time: a script that takes more holds up all others. */
const ADOPTED_PER_CALL = 100;

/**
 * Which streams go on without their client, and who keeps them: the gateway that opened them, or,
 * when it dies, the next one that looks. Their jobs name the stream itself as the gateway whose
 * lease keeps them alive. All methods reject with ioredis' errors when Redis is away.
 */
export class KeptStreams {
  readonly #redis: ScriptedRedis;

  constructor(redis: Redis) {
    this.#redis = defineStreamScripts(redis);
  }

  /** Says that this gateway keeps these streams; every 2 s. The first time before a job is enqueued. */
  async keep(streamIds: string[]): Promise<void> {
    if (streamIds.length === 0) return;
    await Promise.all([
      this.#redis.antiphonKeep(KEPT_STREAMS_KEY, ...streamIds),
      ...streamIds.map((streamId) => this.#renew(streamId)),
    ]);
  }

  /**
   * Streams whose keeper is dead; from now on they are the caller's, and their leases are renewed:
   * those of a gateway that kept thousands run out within 3 s more.
   */
  async adopt(): Promise<string[]> {
    const adopted: string[] = [];
    for (;;) {
      const found = await this.#redis.antiphonAdopt(KEPT_STREAMS_KEY, STALE_MS, ADOPTED_PER_CALL);
      await Promise.all(found.map((streamId) => this.#renew(streamId)));
      adopted.push(...found);
      if (found.length < ADOPTED_PER_CALL) return adopted;
    }
  }

  /** Redis' clock, by which streams are opened; ms. */
  async nowMs(): Promise<number> {
    return redisNowMs(this.#redis);
  }

  /** It has ended. */
  async forget(streamId: string): Promise<void> {
    await Promise.all([
      this.#redis.zrem(KEPT_STREAMS_KEY, streamId),
      this.#redis.del(gatewayKey(streamId)),
    ]);
  }

  /** Leaves streams to whoever looks next. */
  async handOver(streamIds: string[]): Promise<void> {
    if (streamIds.length === 0) return;
    const scores = streamIds.flatMap((streamId) => ['0', streamId]);
    await this.#redis.zadd(KEPT_STREAMS_KEY, 'XX', ...scores);
  }

  /** Somebody reads the stream now. */
  async notePresence(streamId: string, graceMs: number): Promise<void> {
    await this.#redis.set(presenceKey(streamId), '1', 'PX', graceMs);
  }

  /** Whether somebody has read it within the grace. */
  async hasPresence(streamId: string): Promise<boolean> {
    return (await this.#redis.exists(presenceKey(streamId))) === 1;
  }

  async #renew(streamId: string): Promise<void> {
    await this.#redis.set(gatewayKey(streamId), '1', 'PX', LEASE_MS);
  }
}
