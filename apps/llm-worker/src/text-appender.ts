import { concatenate } from '@antiphon/shared/audio/pcm';
import type { StreamProducer } from '@antiphon/shared/streams/stream-producer';

/**
 * An entry's size; the gateway holds a few of them per stream. With what Redis adds it stays under
 * 64 KiB: above, its allocator takes 80 KiB for each.
 */
const ENTRY_BYTES = 65_000;
/** With so much waiting the engine is held back: while one entry travels, the next ones are read. */
const MOST_WAITING_BYTES = 4 * ENTRY_BYTES;

/**
 * Appends text with one append in flight: what arrives meanwhile goes into the next one. So an
 * idle server sends each token at once, and a busy one fewer and larger entries.
 */
export class TextAppender {
  readonly #producer: StreamProducer;
  readonly #signal: AbortSignal;
  #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  #running: Promise<void> | undefined;
  #failure: { thrown: unknown } | undefined;

  constructor(producer: StreamProducer, signal: AbortSignal) {
    this.#producer = producer;
    this.#signal = signal;
  }

  /** Returns at once while little is waiting. Throws what an earlier append threw. */
  async write(bytes: Uint8Array): Promise<void> {
    this.#rethrow();
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.byteLength;
    const running = (this.#running ??= this.#run());
    if (this.#waitingBytes >= MOST_WAITING_BYTES) await running;
    this.#rethrow();
  }

  /** Resolves when all is in the log. */
  async flush(): Promise<void> {
    await this.#running;
    this.#rethrow();
  }

  async #append(bytes: Uint8Array): Promise<void> {
    for (let start = 0; start < bytes.byteLength; start += ENTRY_BYTES) {
      const part = bytes.subarray(start, start + ENTRY_BYTES);
      await this.#producer.append({ type: 'text-delta', bytes: part }, { signal: this.#signal });
    }
  }

  #rethrow(): void {
    if (this.#failure) throw this.#failure.thrown;
  }

  async #run(): Promise<void> {
    try {
      while (this.#waiting.length > 0) {
        const bytes = concatenate(this.#waiting);
        this.#waiting = [];
        this.#waitingBytes = 0;
        await this.#append(bytes);
      }
    } catch (thrown) {
      this.#failure = { thrown };
    } finally {
      this.#running = undefined;
    }
  }
}
