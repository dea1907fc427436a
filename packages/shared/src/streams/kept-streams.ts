import type { Redis } from 'ioredis';
import { gatewayKey, KEPT_STREAMS_KEY, presenceKey } from './stream-key.ts';
import { defineStreamScripts, type ScriptedRedis } from './stream-scripts.ts';

/** Life of a stream's own lease; workers look as they do for a gateway's. */
const LEASE_MS = 8000;
/** A keeper that was not seen for so long is dead. Below the lease: workers must not see it run out. */
const STALE_MS = 5000;
/** Above: the sweep of one gateway would hold its event loop up. */
const MOST_ADOPTED = 100;

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
      ...streamIds.map((streamId) => this.#redis.set(gatewayKey(streamId), '1', 'PX', LEASE_MS)),
    ]);
  }

  /** Streams whose keeper is dead; from now on they are the caller's. */
  async adopt(): Promise<string[]> {
    return this.#redis.antiphonAdopt(KEPT_STREAMS_KEY, STALE_MS, MOST_ADOPTED);
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
}
