import { batchChannel } from '@antiphon/shared/batches/batch-key';
import type { Redis } from 'ioredis';

/**
 * Hears of changes of batches, over one `subscriber` connection of the queues' Redis. Pub/sub may
 * lose a message: whoever must not miss a change looks itself as well, now and then.
 */
export class BatchSubscriber {
  readonly #redis: Redis;
  readonly #listeners = new Map<string, Set<() => void>>();

  constructor(redis: Redis) {
    this.#redis = redis;
    redis.on('message', (channel: string) => notify(this.#listeners.get(channel)));
    // What was told meanwhile was missed.
    redis.on('ready', () => {
      for (const listeners of this.#listeners.values()) notify(listeners);
    });
  }

  /**
   * Calls `onChange` for each change of the batch that is told, once when the subscription stands,
   * and after each reconnect. Returns what ends it.
   */
  subscribe(batchId: string, onChange: () => void): () => void {
    const channel = batchChannel(batchId);
    const listeners = this.#listeners.get(channel) ?? new Set();
    const listener = () => onChange(); // the same function may be given twice
    this.#listeners.set(channel, listeners.add(listener));
    const standing = this.#redis.subscribe(channel);
    standing.then(
      () => notify(listeners.has(listener) ? [listener] : []),
      () => undefined, // the connection is closed for good
    );
    return () => {
      if (!listeners.delete(listener) || listeners.size > 0) return;
      this.#listeners.delete(channel);
      this.#redis.unsubscribe(channel).catch(() => undefined);
    };
  }

  /** How many batches are listened to. */
  get batchCount(): number {
    return this.#listeners.size;
  }

  close(): void {
    this.#listeners.clear();
  }
}

function notify(listeners: Iterable<() => void> = []): void {
  for (const listener of listeners) listener();
}
