import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { Deadlines } from '@antiphon/shared/jobs/job-catalog';
import type { Logger } from '@antiphon/shared/runtime/logger';
import type { StreamEntry } from '@antiphon/shared/streams/stream-event';
import type { StreamLog } from '@antiphon/shared/streams/stream-log';
import type { StreamReader } from '@antiphon/shared/streams/stream-reader';
import type { WorkerDirectory } from '../models/worker-directory.ts';

const TICK_MS = 100;
/** A restarted worker announces itself within this time, and the job is taken after all. */
const UNSERVED_MS = 1000;

interface Producer {
  workerId: string;
  hasOutput: boolean;
  ended: boolean;
  /** When its worker was first seen dead. */
  lostAtMs: number | undefined;
}

export interface WatchOptions {
  log: StreamLog;
  directory: WorkerDirectory;
  logger: Logger;
  /** In which BullMQ gives the job of a dead worker to another one: lock + stalled interval + 1 s. */
  reclaimMs: number;
}

/** One stream under watch; the reply tells it of every entry. */
export class WatchedStream {
  readonly reader: StreamReader;
  readonly deadlines: Deadlines;
  /** Where its job waits to be claimed. */
  readonly queueName: string;
  readonly openedAtMs = performance.now();
  readonly producers = new Map<string, Producer>();
  claimedAtMs: number | undefined;
  /** Since when no live worker takes from its queue. */
  unservedSinceMs: number | undefined;
  firstEventAtMs: number | undefined;
  deliveredSeq = 0;
  /** Nothing is to be judged any more: its end was delivered, or was decided here. */
  ended = false;
  /** Called once a second: speech streams release phrases that got lost. */
  onSecond: (() => void) | undefined;
  tickedAtMs = performance.now();

  constructor(reader: StreamReader, deadlines: Deadlines, queueName: string) {
    this.reader = reader;
    this.deadlines = deadlines;
    this.queueName = queueName;
  }

  note({ seq, terminal, event }: StreamEntry): void {
    this.deliveredSeq = seq;
    if (terminal) this.ended = true;
    switch (event.type) {
      case 'job-claim':
        this.claimedAtMs ??= performance.now();
        this.producers.set(event.producer, {
          workerId: event.workerId,
          hasOutput: event.lastIndex > 0,
          ended: false,
          lostAtMs: undefined,
        });
        return;
      case 'text-delta':
      case 'text-end':
        this.#noteOutput('chat', event.type === 'text-end');
        break;
      case 'audio-delta':
      case 'audio-end':
      case 'phrase-error':
        this.#noteOutput(`phrase-${event.phraseIndex}`, event.type !== 'audio-delta');
        break;
      case 'transcript-delta':
      case 'transcript-end':
        this.#noteOutput('transcription', event.type === 'transcript-end');
        break;
      case 'stream-error':
        break;
    }
    this.firstEventAtMs ??= performance.now();
  }

  /** Entries wait for a slow client: what its producers did since is not known here. */
  get hasUndelivered(): boolean {
    return this.reader.producedSeq > this.deliveredSeq;
  }

  #noteOutput(name: string, ended: boolean): void {
    const producer = this.producers.get(name);
    if (!producer) return;
    producer.hasOutput = true;
    producer.ended ||= ended;
  }
}

/** Ends streams that nobody works on any more, or not in time. One timer for all streams. */
export class StreamWatch {
  readonly #options: WatchOptions;
  readonly #streams = new Set<WatchedStream>();
  readonly #timer: NodeJS.Timeout;

  constructor(options: WatchOptions) {
    this.#options = options;
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
    this.#timer.unref();
  }

  add(stream: WatchedStream): void {
    this.#streams.add(stream);
  }

  delete(stream: WatchedStream): void {
    this.#streams.delete(stream);
  }

  get streams(): ReadonlySet<WatchedStream> {
    return this.#streams;
  }

  close(): void {
    clearInterval(this.#timer);
  }

  /** Ends a stream for its client too when Redis cannot be told. */
  async end(stream: WatchedStream, error: VoiceError): Promise<void> {
    try {
      const status = await this.#options.log.finish(stream.reader.streamId, error);
      if (status === 'gone') stream.reader.fail(error);
    } catch (failure) {
      this.#options.logger.warn(
        { err: failure, streamId: stream.reader.streamId },
        'end of stream',
      );
      stream.reader.fail(error);
    }
  }

  #tick(): void {
    const nowMs = performance.now();
    for (const stream of this.#streams) {
      if (stream.ended || stream.reader.sawEnd) continue;
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
    const unserved =
      stream.claimedAtMs === undefined &&
      !stream.hasUndelivered &&
      this.#options.directory.isServed(stream.queueName) === false;
    if (!unserved) stream.unservedSinceMs = undefined;
    else stream.unservedSinceMs ??= nowMs;
    if (nowMs - (stream.unservedSinceMs ?? nowMs) < UNSERVED_MS) return undefined;
    return new VoiceError('server_is_overloaded', { retryAfterSeconds: 2 });
  }

  /**
   * A worker that died: its job runs again elsewhere, which is unseen while it had written nothing.
   * With output it cannot be continued (llm), or nobody took it in time: the stream ends here.
   */
  #lostWorker(stream: WatchedStream, nowMs: number): VoiceError | undefined {
    for (const [name, producer] of stream.producers) {
      if (producer.ended || stream.hasUndelivered) continue;
      const alive = this.#options.directory.isAlive(producer.workerId);
      if (alive !== false) {
        producer.lostAtMs = undefined;
        continue;
      }
      producer.lostAtMs ??= nowMs;
      const hopeless = producer.hasOutput && name === 'chat';
      if (hopeless || nowMs - producer.lostAtMs > this.#options.reclaimMs) {
        return new VoiceError('stream_interrupted');
      }
    }
    return undefined;
  }
}

/** The deadline that has passed. Idle and total count what was produced, not what was delivered. */
function overdue(stream: WatchedStream, nowMs: number): VoiceError | undefined {
  const { deadlines, claimedAtMs, firstEventAtMs, reader, openedAtMs } = stream;
  if (nowMs - openedAtMs > deadlines.totalMs) return new VoiceError('stream_timeout');
  if (stream.hasUndelivered) return undefined;
  if (claimedAtMs === undefined) {
    if (nowMs - openedAtMs <= deadlines.queueMs) return undefined;
    return new VoiceError('server_is_overloaded', { retryAfterSeconds: 5 });
  }
  if (firstEventAtMs === undefined) {
    if (nowMs - claimedAtMs <= deadlines.firstEventMs) return undefined;
    return new VoiceError('first_event_timeout');
  }
  if (nowMs - reader.producedAtMs > deadlines.idleMs) return new VoiceError('stream_idle_timeout');
  return undefined;
}
