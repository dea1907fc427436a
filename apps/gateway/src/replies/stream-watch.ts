import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { Deadlines, Stage } from '@antiphon/shared/jobs/job-catalog';
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

/** A job that waits to be claimed. */
interface Wait {
  queueName: string;
  sinceMs: number;
  /** Since when no live worker takes from its queue. */
  unservedSinceMs: number | undefined;
}

/** Which queues a stream's jobs wait in, and which stage has the first ones. */
export interface StreamRoute {
  queues: Partial<Record<Stage, string>>;
  firstStage: Stage;
  /** Recordings in a chat: all are transcribed before its llm job is given out. */
  recordingCount?: number;
}

/** The stage whose output the client waits for first. */
export const mainStage = ({ queues, firstStage }: StreamRoute): Stage =>
  queues.llm === undefined ? firstStage : 'llm';

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
  readonly openedAtMs = performance.now();
  readonly producers = new Map<string, Producer>();
  /** By stage: what nobody has claimed yet. */
  readonly waits = new Map<Stage, Wait>();
  /** When the job whose output the client gets was claimed: not a recording's. */
  claimedAtMs: number | undefined;
  /** When the last of its recordings was heard. */
  heardAtMs: number | undefined;
  firstEventAtMs: number | undefined;
  deliveredSeq = 0;
  /** Sound that was given out and not heard yet: chunks, and since when there is any. */
  #unheardCount = 0;
  #listeningSinceMs = 0;
  #listenedMs = 0;
  #heardLastAtMs = 0;
  /** Nothing is to be judged any more: its end was delivered, or was decided here. */
  ended = false;
  /** Called once a second: speech streams release phrases that got lost. */
  onSecond: (() => void) | undefined;
  tickedAtMs = performance.now();

  readonly #route: StreamRoute;
  #recordingsLeft: number;
  #hasPhrases = false;

  constructor(reader: StreamReader, deadlines: Deadlines, route: StreamRoute) {
    this.reader = reader;
    this.deadlines = deadlines;
    this.#route = route;
    this.#recordingsLeft = route.recordingCount ?? 0;
    this.#waitFor(route.firstStage);
  }

  note({ seq, terminal, event }: StreamEntry): void {
    this.deliveredSeq = seq;
    if (terminal) this.ended = true;
    switch (event.type) {
      case 'job-claim':
        if (event.producer === 'playback') return; // this process itself
        this.#noteClaim(event.producer);
        this.producers.set(event.producer, {
          workerId: event.workerId,
          hasOutput: event.lastIndex > 0,
          ended: false,
          lostAtMs: undefined,
        });
        return;
      case 'text-delta':
      case 'text-end':
      case 'message-delta':
        this.#noteOutput('chat', event.type === 'text-end');
        break;
      case 'phrase-start':
        this.#noteOutput('chat', false);
        if (!this.#hasPhrases) this.#waitFor('tts');
        this.#hasPhrases = true;
        break;
      case 'audio-delta':
      case 'audio-end':
      case 'phrase-error':
        this.#noteOutput(`phrase-${event.phraseIndex}`, event.type !== 'audio-delta');
        break;
      case 'transcript-delta':
        this.#noteOutput('transcription', false);
        break;
      case 'transcript-end':
        if (event.partIndex !== undefined) return this.#noteRecording(event.partIndex);
        this.#noteOutput('transcription', true);
        break;
      case 'stream-error':
        break;
    }
    this.firstEventAtMs ??= performance.now();
  }

  /** Sound goes to a listener, who may take as long as it lasts. */
  givenOut(): void {
    if (this.#unheardCount === 0) this.#listeningSinceMs = performance.now();
    this.#unheardCount += 1;
  }

  /** He has taken one of them. */
  heard(): void {
    this.#unheardCount -= 1;
    if (this.#unheardCount > 0) return;
    this.#heardLastAtMs = performance.now();
    this.#listenedMs += this.#heardLastAtMs - this.#listeningSinceMs;
  }

  /** For how long the answer was held back by its listener. */
  listenedMs(nowMs: number): number {
    const running = this.#unheardCount > 0 ? nowMs - this.#listeningSinceMs : 0;
    return this.#listenedMs + running;
  }

  /** Since when nothing was produced although nobody listened; undefined while somebody does. */
  get idleSinceMs(): number | undefined {
    if (this.#unheardCount > 0) return undefined;
    return Math.max(this.reader.producedAtMs, this.#heardLastAtMs);
  }

  /** Entries wait for a slow client: what its producers did since is not known here. */
  get hasUndelivered(): boolean {
    return this.reader.producedSeq > this.deliveredSeq;
  }

  /** Its recordings are not all heard yet: they have deadlines of their own, in their worker. */
  get isListening(): boolean {
    return this.#recordingsLeft > 0;
  }

  #waitFor(stage: Stage): void {
    const queueName = this.#route.queues[stage];
    if (queueName === undefined) return;
    this.waits.set(stage, { queueName, sinceMs: performance.now(), unservedSinceMs: undefined });
  }

  #noteClaim(producer: string): void {
    const stage = stageOf(producer);
    this.waits.delete(stage);
    if (stage === mainStage(this.#route)) this.claimedAtMs ??= performance.now();
  }

  #noteRecording(partIndex: number): void {
    this.#noteOutput(`transcription-${partIndex}`, true);
    this.#recordingsLeft -= 1;
    if (this.#recordingsLeft > 0) return;
    this.heardAtMs = performance.now();
    this.#waitFor('llm');
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
  async end(stream: WatchedStream, error: VoiceError, afterPhrases = false): Promise<void> {
    try {
      const { streamId } = stream.reader;
      const status = await this.#options.log.finish(streamId, error, { afterPhrases });
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
      this.#endBrokenChat(stream);
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
      if (nowMs - (wait.unservedSinceMs ?? nowMs) < UNSERVED_MS) continue;
      return new VoiceError('server_is_overloaded', { retryAfterSeconds: 2 });
    }
    return undefined;
  }

  /**
   * An llm-worker that died in mid-answer: nobody can continue it. What is cut into phrases is still
   * spoken, and the error follows it.
   */
  #endBrokenChat(stream: WatchedStream): void {
    const chat = stream.producers.get('chat');
    if (!chat?.hasOutput || chat.ended || stream.hasUndelivered) return;
    if (this.#options.directory.isAlive(chat.workerId) !== false) return;
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
      const alive = this.#options.directory.isAlive(producer.workerId);
      if (alive !== false) {
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
}

const stageOf = (producer: string): Stage => {
  if (producer.startsWith('phrase-')) return 'tts';
  return producer.startsWith('transcription') ? 'stt' : 'llm';
};

/** The deadline that has passed. Idle and total count what was produced, not what was delivered. */
function overdue(stream: WatchedStream, nowMs: number): VoiceError | undefined {
  const { deadlines, claimedAtMs, firstEventAtMs, idleSinceMs, openedAtMs, waits } = stream;
  if (nowMs - openedAtMs - stream.listenedMs(nowMs) > deadlines.totalMs)
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
