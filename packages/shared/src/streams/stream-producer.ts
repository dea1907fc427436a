import { setTimeout as delay } from 'node:timers/promises';
import { throwRedisFull } from './storage-full.ts';
import { encodeEvent } from './event-codec.ts';
import type { PhraseText } from '../jobs/job-catalog.ts';
import type { StreamEvent } from './stream-event.ts';
import { logKey, stateKey } from './stream-key.ts';
import type { Claim } from './stream-log.ts';
import type { ScriptedRedis } from './stream-scripts.ts';

const FULL_RETRY_FIRST_MS = 5;
const FULL_RETRY_MOST_MS = 250;

/**
 * Raised by `append` when the stream takes nothing more from this producer. Not an error of the
 * request: the stream has its end already, or a later run of the job writes it.
 */
export class StreamClosed extends Error {
  readonly reason: string;

  constructor(streamId: string, reason: string) {
    super(`stream ${streamId} takes no more: ${reason}`);
    this.name = 'StreamClosed';
    this.reason = reason;
  }
}

export interface AppendOptions {
  /** What this entry ends: the whole stream, the text of an audio answer, a phrase, or just this producer. */
  ends?: 'stream' | 'text' | 'phrase' | 'producer';
  /** Samples of audio in it. */
  samples?: number;
  /** With `ends: 'text'`: phrases the answer has. */
  phraseCount?: number;
  /** A phrase that waits to be spoken from now on. */
  phrase?: { phraseIndex: number; body: PhraseText };
  /** Ends the wait for a slow reader. */
  signal?: AbortSignal;
}

/** Writes one producer's entries, one after the other. */
export class StreamProducer {
  readonly #redis: ScriptedRedis;
  readonly #streamId: string;
  readonly #producer: string;
  readonly #epoch: number;
  #index: number;

  constructor(
    redis: ScriptedRedis,
    { streamId, producer, claim }: { streamId: string; producer: string; claim: Claim },
  ) {
    this.#redis = redis;
    this.#streamId = streamId;
    this.#producer = producer;
    this.#epoch = claim.epoch;
    this.#index = claim.lastIndex;
  }

  /**
   * Resolves when the entry is in the log. While `MAX_LOG_BYTES` lie unread it waits: the reader
   * is slow, and so the engine is held back. Throws StreamClosed, `storage_full`, or `signal.reason`.
   */
  async append(event: StreamEvent, options: AppendOptions = {}): Promise<void> {
    const encoded = encodeEvent(event);
    const index = this.#index + 1;
    const { samples = 0, phraseCount = -1, phrase } = options;
    const added = phrase ? [phrase.phraseIndex, JSON.stringify(phrase.body)] : [];
    const meta = `${whatEnds(event, options)} ${samples} ${phraseCount}`;
    for (let waitMs = FULL_RETRY_FIRST_MS; ; waitMs = Math.min(waitMs * 2, FULL_RETRY_MOST_MS)) {
      options.signal?.throwIfAborted();
      writeTogether(this.#redis);
      const outcome = await this.#write(`${this.#producer} ${this.#epoch} ${index} ${meta}`, [
        encoded,
        ...added,
      ]);
      if (outcome === 'open' || (outcome === 'done' && options.ends)) break;
      if (outcome !== 'full') throw new StreamClosed(this.#streamId, outcome);
      await delay(waitMs, undefined, options.signal ? { signal: options.signal } : {}).catch(
        (thrown: unknown) => {
          throw options.signal?.reason ?? thrown;
        },
      );
    }
    this.#index = index;
  }

  async #write(place: string, values: (Buffer | string | number)[]): Promise<string> {
    const [state, log] = [stateKey(this.#streamId), logKey(this.#streamId)];
    try {
      return (await this.#redis.antiphonAppend(state, log, place, ...values))[0];
    } catch (error) {
      return throwRedisFull(error);
    }
  }
}

/** As `append.lua` names it. */
function whatEnds(event: StreamEvent, { ends }: AppendOptions): string {
  if (ends !== 'phrase') return ends ?? '-';
  if (event.type === 'phrase-error') return 'failed-phrase';
  return event.type === 'audio-end' && event.cached ? 'cached-phrase' : ends;
}

/**
 * What is appended in one turn of the event loop leaves in one system call: 11.5 instead of 15.5 µs
 * of CPU per append at 200 streams, and Redis reads and answers them together as well.
 */
function writeTogether({ stream }: ScriptedRedis): void {
  if (!stream || stream.writableCorked > 0) return; // no stream: not connected, ioredis keeps the command
  stream.cork();
  setImmediate(() => stream.uncork());
}
