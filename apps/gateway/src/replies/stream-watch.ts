import { VoiceError } from '@antiphon/shared/errors/voice-error';
import { type LogContext, logContext } from '@antiphon/shared/runtime/log-context';
import type { Logger } from '@antiphon/shared/runtime/logger';
import type { StreamLog } from '@antiphon/shared/streams/stream-log';
import type { WorkerDirectory } from '../models/worker-directory.ts';
import { UntoldEnds } from './untold-ends.ts';
import type { Producer, WatchedStream } from './watched-stream.ts';

const TICK_MS = 100;
/** A restarted worker announces itself within this time, and the job is taken after all. */
const UNSERVED_MS = 1000;
/**
 * Whoever claimed or wrote within this time lives, whatever the registry says: where Redis took no
 * writes for a while, workers are heard there again after a heartbeat (2 s) and a look at it (1 s).
 */
const HEARD_MS = 3000;

export interface WatchOptions {
  log: StreamLog;
  directory: WorkerDirectory;
  logger: Logger;
  /** In which BullMQ gives the job of a dead worker to another one: lock + stalled interval + 1 s. */
  reclaimMs: number;
  /** Told of each stream when nobody watches it any more. */
  onOver?: (stream: WatchedStream) => void;
}

/** Ends streams that nobody works on any more, or not in time. One timer for all streams. */
export class StreamWatch {
  readonly #options: WatchOptions;
  /** With the context of the request that each belongs to: the timer has none. */
  readonly #streams = new Map<WatchedStream, LogContext>();
  readonly #untold: UntoldEnds;
  readonly #timer: NodeJS.Timeout;

  constructor(options: WatchOptions) {
    this.#options = options;
    this.#untold = new UntoldEnds(options.log);
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
    this.#timer.unref();
  }

  add(stream: WatchedStream): void {
    this.#streams.set(stream, logContext());
  }

  delete(stream: WatchedStream): void {
    if (this.#streams.delete(stream)) this.#options.onOver?.(stream);
  }

  get streams(): ReadonlySet<WatchedStream> {
    return new Set(this.#streams.keys());
  }

  close(): void {
    clearInterval(this.#timer);
  }

  /** Ends a stream, for its client also when Redis cannot be told: that is told when it can. */
  async end(stream: WatchedStream, error: VoiceError, afterPhrases = false): Promise<void> {
    const { streamId } = stream.reader;
    try {
      const status = await this.#options.log.finish(streamId, error, { afterPhrases });
      if (status === 'gone') stream.reader.fail(error);
    } catch (failure) {
      this.#warn(failure, streamId, this.#streams.get(stream));
      this.#untold.add(streamId, { error, afterPhrases });
      stream.reader.fail(error);
    }
  }

  /** Ends a stream that nobody reads, now or when Redis can be told. Never rejects. */
  async discard(streamId: string, error: VoiceError): Promise<void> {
    await this.#options.log.finish(streamId, error).catch((failure: unknown) => {
      this.#warn(failure, streamId, logContext());
      this.#untold.add(streamId, { error, afterPhrases: false });
    });
  }

  #warn(error: unknown, streamId: string, context: LogContext | undefined): void {
    this.#options.logger.warn({ err: error, ...context, streamId }, 'end of stream');
  }

  #tick(): void {
    void this.#untold.tell();
    const nowMs = performance.now();
    for (const stream of this.#streams.keys()) {
      if (stream.ended || stream.reader.sawEnd) continue;
      this.#endBrokenChat(stream, nowMs);
      const error =
        overdue(stream, nowMs) ?? this.#unserved(stream, nowMs) ?? this.#lostWorker(stream, nowMs);
      if (error) {
        stream.ended = true;
        void this.end(stream, error);
      } else if (stream.onSecond && nowMs - stream.tickedAtMs >= 1000) {
        stream.tickedAtMs = nowMs;
        stream.onSecond();
      }
    }
  }

  /** Nobody is left who could claim the job: its client need not wait for the queue deadline. */
  #unserved(stream: WatchedStream, nowMs: number): VoiceError | undefined {
    for (const wait of stream.waits.values()) {
      const unserved =
        !stream.hasUndelivered && this.#options.directory.isServed(wait.queueName) === false;
      if (!unserved) wait.unservedSinceMs = undefined;
      else wait.unservedSinceMs ??= nowMs;
      // In the middle of an answer a worker is given the time in which it may be started again.
      const patienceMs = Number.isFinite(wait.sinceMs) ? UNSERVED_MS : this.#options.reclaimMs;
      if (nowMs - (wait.unservedSinceMs ?? nowMs) < patienceMs) continue;
      return new VoiceError('server_is_overloaded', { retryAfterSeconds: 2 });
    }
    return undefined;
  }

  /**
   * An llm-worker that died in mid-answer: nobody can continue it. What is cut into phrases is still
   * spoken, and the error follows it.
   */
  #endBrokenChat(stream: WatchedStream, nowMs: number): void {
    const chat = stream.producers.get('chat');
    if (!chat?.hasOutput || chat.ended || stream.hasUndelivered) return;
    if (!this.#isDead(chat, nowMs)) return;
    chat.ended = true;
    void this.end(stream, new VoiceError('stream_interrupted'), true);
  }

  /**
   * A worker that died: its job runs again elsewhere, which is unseen while it had written nothing.
   * When nobody takes it in time, the stream ends here.
   */
  #lostWorker(stream: WatchedStream, nowMs: number): VoiceError | undefined {
    for (const producer of stream.producers.values()) {
      if (producer.ended || stream.hasUndelivered) continue;
      if (!this.#isDead(producer, nowMs)) {
        producer.lostAtMs = undefined;
        continue;
      }
      producer.lostAtMs ??= nowMs;
      if (nowMs - producer.lostAtMs > this.#options.reclaimMs) {
        return new VoiceError('stream_interrupted');
      }
    }
    return undefined;
  }

  #isDead({ workerId, heardAtMs }: Producer, nowMs: number): boolean {
    const { directory, reclaimMs } = this.#options;
    if (nowMs - heardAtMs < Math.min(HEARD_MS, reclaimMs)) return false;
    return directory.isAlive(workerId) === false;
  }
}

/** The deadline that has passed. Idle and total count what was produced, not what was delivered. */
function overdue(stream: WatchedStream, nowMs: number): VoiceError | undefined {
  const { deadlines, claimedAtMs, firstEventAtMs, idleSinceMs, openedAtMs, waits } = stream;
  if (nowMs - openedAtMs - stream.listening.totalMs(nowMs) > deadlines.totalMs)
    return new VoiceError('stream_timeout');
  if (stream.hasUndelivered) return undefined;
  if ([...waits.values()].some(({ sinceMs }) => nowMs - sinceMs > deadlines.queueMs)) {
    return new VoiceError('server_is_overloaded', { retryAfterSeconds: 5 });
  }
  if (claimedAtMs === undefined || stream.isListening) return undefined;
  if (firstEventAtMs === undefined) {
    if (nowMs - claimedAtMs <= deadlines.firstEventMs) return undefined;
    return new VoiceError('first_event_timeout');
  }
  if (nowMs - (idleSinceMs ?? nowMs) > deadlines.idleMs)
    return new VoiceError('stream_idle_timeout');
  return undefined;
}
