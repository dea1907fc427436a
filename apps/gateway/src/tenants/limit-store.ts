import { setTimeout as delay } from 'node:timers/promises';
import { LATE, answerWithin } from '@antiphon/shared/runtime/within';
import type { Redis } from 'ioredis';

/** Hundreds of round trips; a request waits no longer for its limits. */
const WAIT_MS = 300;
const LISTEN_AGAIN_MS = 250;

/**
 * The Redis that counts for all gateways, asked by those who can count for themselves. One that takes
 * commands and never answers would hold each request up for the 2 s of a command's time: it costs
 * those that wait 300 ms, and the later ones nothing until it answers again.
 */
export class LimitStore {
  readonly redis: Redis;
  readonly #onError: (error: Error) => void;
  #silent = false;

  /** `onError`: told once of each silence. */
  constructor(redis: Redis, onError: (error: Error) => void) {
    this.redis = redis;
    this.#onError = onError;
  }

  /** Rejects when Redis is away or silent; what was asked may be carried out all the same. */
  async ask<Answer>(command: () => Promise<Answer>): Promise<Answer> {
    if (this.#silent) throw new Error('Redis is silent');
    const answer = await answerWithin(WAIT_MS, command());
    if (answer !== LATE) return answer;
    if (!this.#silent) void this.#listen();
    throw new Error('Redis is silent');
  }

  /** Until it answers, or its connection was closed for good. */
  async #listen(): Promise<void> {
    this.#silent = true;
    this.#onError(new Error('Redis does not answer: this gateway counts limits by itself'));
    while (this.redis.status !== 'end') {
      const answered = await this.redis.ping().catch(() => undefined);
      if (answered !== undefined) break;
      await delay(LISTEN_AGAIN_MS, undefined, { ref: false });
    }
    this.#silent = false;
  }
}
