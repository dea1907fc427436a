import type { Redis } from 'ioredis';
import { throwStoreFault } from './store-fault.ts';

/** Ids that are given out look like this; anything else is none, and reaches no other tenant's key. */
const AUDIO_ID = /^[\w-]{1,128}$/;

/**
 * The texts of spoken answers, by the `audio.id` that a client sends in later turns instead of
 * them. All methods reject with `queue_unavailable` or `storage_full`.
 */
export class SpokenAnswerStore {
  readonly #redis: Redis;

  constructor(redis: Redis) {
    this.#redis = redis;
  }

  /** `text`: all that the model wrote, code included. */
  async keep(tenantId: string, audioId: string, text: string, ttlMs: number): Promise<void> {
    await this.#redis.set(keyOf(tenantId, audioId), text, 'PX', ttlMs).catch(throwStoreFault);
  }

  /** In the order of `audioIds`; undefined for one that is unknown, expired or another tenant's. */
  async find(tenantId: string, audioIds: string[]): Promise<(string | undefined)[]> {
    const found = audioIds.map(async (audioId) =>
      AUDIO_ID.test(audioId) ? this.#redis.get(keyOf(tenantId, audioId)) : null,
    );
    const texts = await Promise.all(found).catch(throwStoreFault);
    return texts.map((text) => text ?? undefined);
  }
}

const keyOf = (tenantId: string, audioId: string): string =>
  `antiphon:audio:${tenantId}:${audioId}`;
