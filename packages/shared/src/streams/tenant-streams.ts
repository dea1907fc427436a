import type { Redis } from 'ioredis';
import { stateKey, tenantStreamsKey } from './stream-key.ts';
import { defineStreamScripts, type ScriptedRedis } from './stream-scripts.ts';
import { throwRedisFull } from './storage-full.ts';

/** Above the life of any stream's state: a week and `LOG_TTL_MS`. */
const SET_LIFE_MS = 8 * 86_400_000;

/** An open stream, and the fields of its state that were asked for. */
export interface ListedStream {
  streamId: string;
  state: Record<string, string>;
}

/**
 * Which streams of a tenant are open: a sorted set by the time they were opened (ms, Redis' clock).
 * It only says where to look; the stream's state decides. So a lost removal or a dead gateway costs
 * one look at the next `list`. All methods reject with ioredis' errors when Redis is away.
 */
export class TenantStreams {
  readonly #redis: ScriptedRedis;

  constructor(redis: Redis) {
    this.#redis = defineStreamScripts(redis);
  }

  /**
   * Over the log's connection, sent right behind `StreamLog.open` and not awaited in between: one
   * round trip, and `list` never sees an id without its state. Throws `storage_full`.
   */
  async add(tenantId: string, streamId: string): Promise<void> {
    await this.#redis
      .antiphonTrack(tenantStreamsKey(tenantId), streamId, SET_LIFE_MS)
      .catch(throwRedisFull);
  }

  async remove(tenantId: string, streamId: string): Promise<void> {
    await this.#redis.zrem(tenantStreamsKey(tenantId), streamId);
  }

  /** `fields` of one stream's state; undefined when it is unknown or another tenant's. */
  async state(
    tenantId: string,
    streamId: string,
    fields: readonly string[],
  ): Promise<Record<string, string> | undefined> {
    const asked = ['tenantId', ...fields];
    const state = fieldsOf(asked, await this.#redis.hmget(stateKey(streamId), ...asked));
    return state['tenantId'] === tenantId ? state : undefined;
  }

  /** Open streams, oldest first, with `fields` of their states. Forgets those that have ended. */
  async list(tenantId: string, fields: readonly string[] = []): Promise<ListedStream[]> {
    const key = tenantStreamsKey(tenantId);
    const streamIds = await this.#redis.zrange(key, '0', '-1');
    const asked = ['status', ...fields];
    const states = await Promise.all(
      streamIds.map((streamId) => this.#redis.hmget(stateKey(streamId), ...asked)),
    );
    const isOpen = (index: number) => states[index]?.[0] === 'open';
    const ended = streamIds.filter((_streamId, index) => !isOpen(index));
    if (ended.length > 0) await this.#redis.zrem(key, ...ended);
    return streamIds.flatMap((streamId, index) =>
      isOpen(index) ? [{ streamId, state: fieldsOf(asked, states[index] ?? []) }] : [],
    );
  }
}

const fieldsOf = (names: string[], values: (string | null)[]): Record<string, string> =>
  Object.fromEntries(
    names.flatMap((name, index) => {
      const value = values[index] ?? null;
      return value === null ? [] : [[name, value]];
    }),
  );
