import { VoiceError } from '../errors/voice-error.ts';
import { decodeEvent } from './event-codec.ts';
import type { StreamEntry } from './stream-event.ts';
import type { StreamLog, StreamMessage } from './stream-log.ts';

/** Of one stream, at most this much waits in this process; the rest stays in the log. */
const BUFFER_BYTES = 262_144;
const MOST_ENTRIES_PER_READ = 256;
/** What an entry is taken for until one was seen; 256 of 64 KiB each were 16 MiB in one read. */
const UNKNOWN_ENTRY_BYTES = 16_384;

/**
 * Reads one stream in order, without holes and without doubles, at the pace of the caller; only a
 * stop (`stream_cancelled`) overtakes what lies before it.
 * Messages that follow on are kept while they are few; all else is read from the log when wanted.
 */
export class StreamReader {
  readonly streamId: string;
  /** When the stream last grew, as far as this process knows; `performance.now()`. */
  producedAtMs = performance.now();
  /** When the log was last heard of or asked for. */
  lookedAtMs = performance.now();
  /** Whether the stream's one end was heard of: all of it is in the log, delivered or not. */
  sawEnd = false;
  /** The highest seq heard of: what was produced, delivered or not. */
  producedSeq = 0;
  /** Called when a stop was heard, also while nobody asks for the next entries. */
  onStop: (() => void) | undefined;

  readonly #log: StreamLog;
  readonly #onClose: () => void;
  #buffer: StreamEntry[] = [];
  #bufferBytes = 0;
  /** The seq that the caller gets next, and the one the buffer takes next. */
  #nextSeq = 1;
  #bufferSeq = 1;
  /** Of the last read, and of what was heard since: what a read takes follows it. */
  #largestEntryBytes = 0;
  #wanted = false;
  #wake: (() => void) | undefined;
  #readFailed = false;
  #failure: VoiceError | undefined;
  /** Rejects the read that `next` waits for. */
  #breakOff: ((error: VoiceError) => void) | undefined;
  #stop: StreamEntry | undefined;
  #closed = false;

  constructor(streamId: string, log: StreamLog, onClose: () => void) {
    this.streamId = streamId;
    this.#log = log;
    this.#onClose = onClose;
  }

  /**
   * The entries that are there, at least one; `[]` after `close`. Throws what `fail` was given, and
   * `queue_unavailable` when the stream's log is gone.
   */
  async next(): Promise<StreamEntry[]> {
    for (;;) {
      if (this.#closed) return [];
      if (this.#failure) throw this.#failure;
      if (this.#stop) return [this.#stop];
      if (this.#buffer.length > 0) return this.#takeBuffer();
      if (this.#wanted || this.producedSeq >= this.#nextSeq) {
        const entries = await this.#orFailure(this.#readLog());
        if (entries.length > 0) return entries;
        if (this.#readFailed) await this.#woken();
      } else {
        await this.#woken();
      }
    }
  }

  /** Called by the subscriber for each message of the stream. Never throws: it stands in an event listener. */
  receive(message: StreamMessage): void {
    try {
      if (message.seq === 0) this.#receiveUnlogged(message);
      else this.#receiveEntry(message);
    } catch (error) {
      this.fail(VoiceError.from(error)); // of a newer version
    }
  }

  /** An end that did not fit into Redis any more. */
  #receiveUnlogged({ terminal, encoded }: StreamMessage): void {
    const event = encoded && decodeEvent(encoded);
    if (!terminal || event?.type !== 'stream-error') return;
    this.sawEnd = true;
    this.fail(VoiceError.deserialize(event.error));
  }

  #receiveEntry({ seq, terminal, encoded }: StreamMessage): void {
    this.#noteProduced(seq);
    // A bare wake-up says that this reader lies behind, and nothing of sizes.
    if (encoded) this.#largestEntryBytes = Math.max(this.#largestEntryBytes, encoded.length);
    this.sawEnd ||= terminal;
    if (terminal && encoded && this.#heedStop(seq, encoded)) return this.#notify();
    const fits = encoded && this.#bufferBytes + encoded.length <= BUFFER_BYTES;
    if (seq === this.#bufferSeq && fits) {
      const event = decodeEvent(encoded);
      this.#bufferSeq += 1;
      if (event) {
        this.#buffer.push({ seq, terminal, event, sizeBytes: encoded.length });
        this.#bufferBytes += encoded.length;
      } else {
        this.#wanted = true; // of a newer version: the log reader passes over it
      }
    }
    this.#notify();
  }

  /** A stop does not wait for what lies before it: nobody wants that any more. */
  #heedStop(seq: number, encoded: Buffer): boolean {
    const event = decodeEvent(encoded);
    if (event?.type !== 'stream-error' || event.error.code !== 'stream_cancelled') return false;
    this.#stop = { seq, terminal: true, event, sizeBytes: encoded.length };
    this.onStop?.();
    return true;
  }

  /** Makes the next `next` look into the log. */
  catchUp(): void {
    this.lookedAtMs = performance.now();
    this.#wanted = true;
    this.#notify();
  }

  /** Makes `next` throw: for a stream whose end cannot be written. */
  fail(error: VoiceError): void {
    this.#failure = error;
    this.#breakOff?.(error);
    this.#notify();
  }

  /**
   * Reads given entries again, from the log: those that a caller could not keep. Waits while Redis
   * is away; `[]` after `close`. Throws what `fail` was given.
   */
  async readAgain(seq: number, count: number): Promise<StreamEntry[]> {
    for (;;) {
      if (this.#closed) return [];
      if (this.#failure) throw this.#failure;
      const range = await this.#log
        .read(this.streamId, seq, count)
        .catch((error: unknown) => this.#passOver(error));
      if (range) return range.entries;
      await this.#woken();
    }
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#buffer = [];
    this.#onClose();
    this.#notify();
  }

  /**
   * Behind a dead network a read ends by its command's timeout only: without this a stream that was
   * silent for its 4 s of idle time was told so after 8 s instead of 6.
   */
  #orFailure<T>(reading: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#breakOff = reject;
      reading.then(resolve, reject);
    });
  }

  #woken(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  #noteProduced(seq: number): void {
    this.lookedAtMs = performance.now();
    if (seq <= this.producedSeq) return;
    this.producedSeq = seq;
    this.producedAtMs = this.lookedAtMs;
  }

  #notify(): void {
    this.#wake?.();
    this.#wake = undefined;
  }

  #takeBuffer(): StreamEntry[] {
    const entries = this.#buffer;
    this.#buffer = [];
    this.#bufferBytes = 0;
    this.#nextSeq = this.#bufferSeq;
    return entries;
  }

  async #readLog(): Promise<StreamEntry[]> {
    this.#wanted = false;
    this.#readFailed = false;
    const entryBytes = this.#largestEntryBytes || UNKNOWN_ENTRY_BYTES;
    const count = Math.max(
      1,
      Math.min(MOST_ENTRIES_PER_READ, Math.floor(BUFFER_BYTES / entryBytes)),
    );
    const range = await this.#log
      .read(this.streamId, this.#nextSeq, count)
      .catch((error: unknown) => this.#passOver(error));
    // Messages may have gone on from here while the log was read: then they are the next ones.
    if (!range || this.#buffer.length > 0) return [];
    const { entries, firstSeq, lastSeq, stateSeq, status } = range;
    if (lastSeq === 0) {
      // A Redis that came back without its last second goes on below what was delivered already.
      if (status === 'open' && stateSeq >= this.#nextSeq - 1) return [];
      throw new VoiceError('queue_unavailable', {
        message: `Stream ${this.streamId} is no longer known to the queue.`,
      });
    }
    if (firstSeq !== this.#nextSeq) {
      throw new VoiceError('internal_error', {
        cause: `log of ${this.streamId} begins at ${firstSeq}, wanted ${this.#nextSeq}`,
      });
    }
    if (entries.length > 0)
      this.#largestEntryBytes = Math.max(...entries.map(({ sizeBytes }) => sizeBytes));
    this.sawEnd ||= entries.at(-1)?.terminal === true;
    this.#nextSeq = lastSeq + 1;
    this.#bufferSeq = lastSeq + 1;
    // More may lie there than one read takes: without this, 256 entries a second after a reconnect.
    this.#noteProduced(Math.max(lastSeq, stateSeq));
    return entries;
  }

  /** Redis is away: messages or the next silence check wake this reader again. */
  #passOver(error: unknown): undefined {
    if (error instanceof VoiceError) throw error;
    this.#readFailed = true;
    return undefined;
  }
}
