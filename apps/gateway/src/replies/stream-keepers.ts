import { VoiceError } from '@antiphon/shared/errors/voice-error';
import { throwStoreFault } from '@antiphon/shared/storage/store-fault';
import { IdempotencyKeys, type TenantKey } from '@antiphon/shared/streams/idempotency';
import { KeptStreams } from '@antiphon/shared/streams/kept-streams';
import type { StreamReader } from '@antiphon/shared/streams/stream-reader';
import type { Redis } from 'ioredis';
import type { GatewayContext, StreamContext } from '../gateway-context.ts';
import { type Kept, KeptStream, type KeptStreamOptions, keptSchema } from './kept-stream.ts';
import { type OpenLogOptions, openLog, openTtlMs, subscribeWhile } from './open-stream.ts';

/** Below the lease of 8 s, several times. */
const RENEW_MS = 2000;
const MOST_TICK_MS = 1000;
/** Their states hold all their texts. */
const ADOPTED_AT_ONCE = 100;

export interface KeepOptions extends Omit<OpenLogOptions, 'deadlines' | 'route'> {
  kept: Kept;
  enqueue: (streamId: string) => Promise<void>;
  /** Frees what its jobs read, when it is over. Of one that another gateway takes over the sweeper does. */
  release: () => Promise<void>;
}

/** The context with its keepers at work; whoever closes it closes them. */
export function startKeepers(context: StreamContext, streamRedis: Redis): GatewayContext {
  const idempotency = new IdempotencyKeys(streamRedis);
  const keepers = new StreamKeepers(context, new KeptStreams(streamRedis), idempotency);
  keepers.start();
  return { ...context, keepers, idempotency };
}

/**
 * The streams that this gateway keeps, and their clients here. It adopts those whose gateway died;
 * what it keeps when it stops, another one adopts.
 */
export class StreamKeepers {
  readonly #context: StreamContext;
  readonly #leases: KeptStreams;
  readonly #keys: IdempotencyKeys;
  readonly #kept = new Map<string, KeptStream>();
  /** Readers of clients of this gateway, by stream; kept here or elsewhere. */
  readonly #followers = new Map<string, Set<StreamReader>>();
  readonly #graceMs: number;
  #timer: NodeJS.Timeout | undefined;
  #renewedAtMs = -Infinity;
  #ticking = false;

  constructor(context: StreamContext, leases: KeptStreams, keys: IdempotencyKeys) {
    this.#context = context;
    this.#keys = keys;
    this.#leases = leases;
    this.#graceMs = context.config.RESUME_GRACE_MS;
  }

  start(): void {
    const periodMs = Math.min(MOST_TICK_MS, Math.max(20, this.#graceMs / 4));
    this.#timer = setInterval(() => void this.#tick(), periodMs);
    this.#timer.unref();
  }

  /**
   * Opens a stream that goes on without its client. Its time without one begins when the returned
   * function is called: when its client reads it, or will not. Throws as `openStream` does, after `release`.
   */
  async open(
    streamId: string,
    { kept, enqueue, release, ...options }: KeepOptions,
  ): Promise<() => void> {
    const { deadlines, route } = kept;
    const opening = { ...options.opening, resumable: true, kept: JSON.stringify(kept) };
    const reader = await this.#lease(streamId)
      .then(() => openLog(this.#context, streamId, { ...options, opening, deadlines, route }))
      .catch(async (error: unknown) => {
        await Promise.all([this.#forget(streamId), release()]);
        throw error;
      });
    const leave = this.follow(streamId, reader);
    const stream = this.#run({ streamId, tenantId: options.tenantId, reader, kept }, release);
    try {
      await this.#holdKey(stream, openTtlMs(this.#context, deadlines));
      await enqueue(streamId);
      return leave;
    } catch (thrown) {
      leave();
      const error = VoiceError.from(thrown, 'queue_unavailable');
      await stream.cancel(error); // those who have joined it already may come again as well
      throw error;
    }
  }

  /** A client here reads the stream; call the returned function when it does not any more. */
  follow(streamId: string, reader: StreamReader): () => void {
    const readers = this.#followers.get(streamId) ?? new Set();
    this.#followers.set(streamId, readers.add(reader));
    this.#notePresence(streamId);
    return () => {
      readers.delete(reader);
      if (readers.size === 0 && this.#followers.get(streamId) === readers) {
        this.#followers.delete(streamId);
      }
      this.#notePresence(streamId);
    };
  }

  /** How many streams are kept here. */
  get size(): number {
    return this.#kept.size;
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    const streamIds = [...this.#kept.keys()];
    for (const stream of this.#kept.values()) stream.abandon();
    await this.#leases.handOver(streamIds).catch((error: unknown) => this.#warn(error));
  }

  /** Before any job is enqueued: its worker looks for the lease. */
  async #lease(streamId: string): Promise<void> {
    await Promise.all([
      this.#leases.keep([streamId]),
      this.#leases.notePresence(streamId, this.#graceMs),
    ]).catch(throwStoreFault);
  }

  #run(options: KeptStreamOptions, release: () => Promise<void>): KeptStream {
    const { streamId } = options;
    const stream = new KeptStream(this.#context, options);
    this.#kept.set(streamId, stream);
    const finish = async () => {
      try {
        if (!(await stream.run())) return;
        await this.#settle(stream, release);
      } catch (error) {
        this.#warn(error, streamId);
        // It may still be adopted; those who read it here are not to wait for that.
        const readers = this.#followers.get(streamId) ?? [];
        for (const reader of readers) reader.fail(VoiceError.from(error));
      } finally {
        this.#kept.delete(streamId);
      }
    };
    finish().catch((error: unknown) => this.#warn(error, streamId));
    return stream;
  }

  /** It has ended. */
  async #settle(stream: KeptStream, release: () => Promise<void>): Promise<void> {
    try {
      await this.#forget(stream.streamId);
      const key = keyOf(stream);
      if (key) await this.#keys.hold(key, stream.streamId, this.#context.config.LOG_TTL_MS);
      await this.#context.tenantStreams.remove(stream.tenantId, stream.streamId);
    } finally {
      await release();
    }
  }

  async #tick(): Promise<void> {
    if (this.#ticking) return;
    this.#ticking = true;
    try {
      await Promise.all([
        this.#renew(),
        this.#cancelUnread(),
        ...[...this.#followers.keys()].map((streamId) =>
          this.#leases.notePresence(streamId, this.#graceMs),
        ),
      ]);
    } catch (error) {
      this.#warn(error); // the next one tries again
    } finally {
      this.#ticking = false;
    }
  }

  async #renew(): Promise<void> {
    const nowMs = performance.now();
    if (nowMs - this.#renewedAtMs < RENEW_MS) return;
    await this.#leases.keep([...this.#kept.keys()]);
    this.#renewedAtMs = nowMs;
    const adopted = await this.#leases.adopt();
    const found = adopted.filter((streamId) => !this.#kept.has(streamId));
    if (found.length === 0) return;
    const redisNowMs = await this.#leases.nowMs();
    for (let start = 0; start < found.length; start += ADOPTED_AT_ONCE) {
      const some = found.slice(start, start + ADOPTED_AT_ONCE);
      await Promise.all(
        // One that cannot be adopted (of a newer version) holds no other up.
        some.map((streamId) =>
          this.#adopt(streamId, redisNowMs).catch((error: unknown) => this.#warn(error, streamId)),
        ),
      );
    }
  }

  async #adopt(streamId: string, redisNowMs: number): Promise<void> {
    const { log, logger } = this.#context;
    const state = await log.state(streamId);
    if (state?.['status'] !== 'open') return this.#forget(streamId);
    const kept = keptSchema.parse(JSON.parse(state['kept'] ?? ''));
    const reader = await subscribeWhile(this.#context, streamId, []);
    reader.catchUp();
    logger.info({ streamId }, 'stream of another gateway adopted');
    const ageMs = Math.max(0, redisNowMs - Number(state['openedMs']));
    const { tenantId = '' } = state;
    void this.#context.admission.adopt(streamId, tenantId);
    this.#run({ streamId, tenantId, reader, kept, ageMs }, async () => undefined);
  }

  async #cancelUnread(): Promise<void> {
    for (const stream of this.#kept.values()) {
      const { streamId, kept } = stream;
      if (kept.background || this.#followers.has(streamId)) continue;
      if (await this.#leases.hasPresence(streamId)) continue;
      if (this.#followers.has(streamId)) continue; // it came meanwhile
      await stream.cancel();
      // Nobody has the answer: who asks again is to get one.
      const key = keyOf(stream);
      if (key) await this.#keys.free(key, streamId);
    }
  }

  /** Two requests with one key are not to be answered both: who has lost it may come again, and joins. */
  async #holdKey(stream: KeptStream, ttlMs: number): Promise<void> {
    const key = keyOf(stream);
    if (!key || (await this.#keys.hold(key, stream.streamId, ttlMs))) return;
    const cause = 'the idempotency key was lost while its stream was prepared';
    throw new VoiceError('queue_unavailable', { cause, retryAfterSeconds: 1 });
  }

  async #forget(streamId: string): Promise<void> {
    await this.#leases.forget(streamId).catch((error: unknown) => this.#warn(error, streamId));
  }

  #notePresence(streamId: string): void {
    this.#leases
      .notePresence(streamId, this.#graceMs)
      .catch((error: unknown) => this.#warn(error, streamId));
  }

  #warn(error: unknown, streamId?: string): void {
    this.#context.logger.warn({ err: error, streamId }, 'kept streams');
  }
}

const keyOf = ({ tenantId, kept }: KeptStream): TenantKey | undefined =>
  kept.idempotencyKey === undefined ? undefined : { tenantId, key: kept.idempotencyKey };
