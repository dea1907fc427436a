import { createHash } from 'node:crypto';
import type { Redis } from 'ioredis';
import { z } from 'zod';
import { throwStoreFault } from '../storage/store-fault.ts';
import { idempotencyKey } from './stream-key.ts';
import { defineStreamScripts, type ScriptedRedis } from './stream-scripts.ts';

const claimSchema = z.object({
  streamId: z.string(),
  bodyHash: z.string(),
  /** Its stream was opened: when it is not there, it is not there any more. */
  isOpen: z.boolean().optional(),
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

  /** Whoever claimed it still prepares its stream. When nobody says so any more, it is free. */
  async renew(of: TenantKey, streamId: string, ttlMs: number): Promise<void> {
    await this.#hold(of, streamId, ttlMs, '0');
  }

  /**
   * Its stream is open, or has ended: the key is to live as long as the log. False when it stands for
   * another stream by now, or for none.
   */
  async hold(of: TenantKey, streamId: string, ttlMs: number): Promise<boolean> {
    return this.#hold(of, streamId, ttlMs, '1');
  }

  async #hold(of: TenantKey, streamId: string, ttlMs: number, isOpen: string): Promise<boolean> {
    const held = await this.#redis
      .antiphonHold(nameOf(of), streamId, ttlMs, isOpen)
      .catch(throwStoreFault);
    return held === 1;
  }
}

const nameOf = ({ tenantId, key }: TenantKey): string =>
  idempotencyKey(tenantId, createHash('sha256').update(key).digest('hex'));
