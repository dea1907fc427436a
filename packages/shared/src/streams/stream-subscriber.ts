import type { Redis } from 'ioredis';
import { parseMessage, type StreamLog } from './stream-log.ts';
import { StreamReader } from './stream-reader.ts';
import { streamChannel } from './stream-key.ts';

/** How often silent readers look into the log themselves: pub/sub may lose a message. */
const SILENCE_MS = 1000;

/**
 * One subscriber connection for all streams a process reads. After a reconnect ioredis subscribes
 * again and every reader asks its log for what it missed.
 */
export class StreamSubscriber {
  readonly #redis: Redis;
  readonly #log: StreamLog;
  /** By channel: several clients may read one stream here. */
  readonly #readers = new Map<string, Set<StreamReader>>();
  readonly #timer: NodeJS.Timeout;

  constructor(redis: Redis, log: StreamLog) {
    this.#redis = redis;
    this.#log = log;
    redis.on('messageBuffer', (channel: Buffer, message: Buffer) => {
      const readers = this.#readers.get(channel.toString('latin1'));
      if (!readers) return;
      const parsed = parseMessage(message);
      for (const reader of readers) reader.receive(parsed);
    });
    redis.on('ready', () => {
      for (const reader of this.#all()) reader.catchUp();
    });
    this.#timer = setInterval(() => this.#checkSilence(), SILENCE_MS);
    this.#timer.unref();
  }

  /** Subscribes; resolves when Redis has confirmed it. From then on nothing is missed. */
  async subscribe(streamId: string): Promise<StreamReader> {
    const channel = streamChannel(streamId);
    const readers = this.#readers.get(channel) ?? new Set();
    const drop = () => {
      if (!readers.delete(reader) || readers.size > 0) return false;
      return this.#readers.delete(channel);
    };
    const reader: StreamReader = new StreamReader(streamId, this.#log, () => {
      if (drop()) this.#redis.unsubscribe(channel).catch(() => undefined); // the connection is gone, and so is the subscription
    });
    this.#readers.set(channel, readers.add(reader));
    try {
      await this.#redis.subscribe(channel);
    } catch (error) {
      drop();
      throw error;
    }
    return reader;
  }

  get readerCount(): number {
    return [...this.#all()].length;
  }

  *#all(): Generator<StreamReader> {
    for (const readers of this.#readers.values()) yield* readers;
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #checkSilence(): void {
    const now = performance.now();
    for (const reader of this.#all()) {
      if (now - reader.lookedAtMs >= SILENCE_MS) reader.catchUp();
    }
  }
}
