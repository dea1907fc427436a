import { createHash } from 'node:crypto';
import type { Redis } from 'ioredis';
import { z } from 'zod';
import { throwStoreFault } from '../storage/store-fault.ts';
import { idempotencyKey } from './stream-key.ts';
import { defineStreamScripts, type ScriptedRedis } from './stream-scripts.ts';

const claimSchema = z.object({
  streamId: z.string(),
  bodyHash: z.string(),
  /** Unix ms: a stream that is not there long after it was claimed has expired. */
  claimedAtMs: z.number(),
});

/** Which stream answers a key. */
export type KeyClaim = z.output<typeof claimSchema>;

/** A key of one tenant; another tenant's same key is another key. */
export interface TenantKey {
  tenantId: string;
  /** As the client sent it. */
  key: string;
}

/** What `Idempotency-Key` stands for. All methods reject with `queue_unavailable` or `storage_full`. */
export class IdempotencyKeys {
  readonly #redis: ScriptedRedis;

  constructor(redis: Redis) {
    this.#redis = defineStreamScripts(redis);
  }

  /** The claim that the key has now: the caller's own when the key was free. */
  async claim(of: TenantKey, wanted: KeyClaim, ttlMs: number): Promise<KeyClaim> {
    const key = nameOf(of);
    // Sent together; SET takes NX with GET only since Redis 7.
    const [, found] = await Promise.all([
      this.#redis.set(key, JSON.stringify(wanted), 'PX', ttlMs, 'NX'),
      this.#redis.get(key),
    ]).catch(throwStoreFault);
    return found === null ? wanted : claimSchema.parse(JSON.parse(found));
  }

  /** Makes the key free again, unless it stands for another stream meanwhile. */
  async free(of: TenantKey, streamId: string): Promise<void> {
    await this.#redis.antiphonFree(nameOf(of), streamId).catch(throwStoreFault);
  }

  /** The key is to live as long as its stream's log. */
  async expire(of: TenantKey, ttlMs: number): Promise<void> {
    await this.#redis.pexpire(nameOf(of), ttlMs).catch(throwStoreFault);
  }
}

const nameOf = ({ tenantId, key }: TenantKey): string =>
  idempotencyKey(tenantId, createHash('sha256').update(key).digest('hex'));
