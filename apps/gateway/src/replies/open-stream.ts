import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { Deadlines } from '@antiphon/shared/jobs/job-catalog';
import { LATE, answerWithin } from '@antiphon/shared/runtime/within';
import { isStorageFull } from '@antiphon/shared/streams/storage-full';
import { createStreamId } from '@antiphon/shared/streams/stream-key';
import type { StreamOpening } from '@antiphon/shared/streams/stream-log';
import type { StreamEntry } from '@antiphon/shared/streams/stream-event';
import type { StreamReader } from '@antiphon/shared/streams/stream-reader';
import type { GatewayContext, StreamContext } from '../gateway-context.ts';
import { type ClientConnection, ClientLeft } from './client-connection.ts';
import { type StreamRoute, WatchedStream, mainStage } from './watched-stream.ts';

/** What `openLog` itself knows of a stream's opening. */
type FilledIn =
  | 'tenantId'
  | 'gatewayId'
  | 'queueName'
  | 'recordingsQueueName'
  | 'maxLogBytes'
  | 'ttlMs'
  | 'logTtlMs';

export interface OpenLogOptions {
  tenantId: string;
  deadlines: Deadlines;
  /** Where its jobs wait. */
  route: StreamRoute;
  opening: Omit<StreamOpening, FilledIn>;
}

export interface OpenStreamOptions extends OpenLogOptions {
  connection: ClientConnection;
  /** Puts the stream's jobs into queues. The reader hears them already. */
  enqueue: (streamId: string) => Promise<void>;
}

/** A stream in the hands of its reply. */
export interface OpenedStream {
  streamId: string;
  reader: StreamReader;
  watched: WatchedStream;
  /** Its client reads beside the stream's keeper: `first` while it is made, `again` later or elsewhere. */
  follower?: 'first' | 'again';
  /** Ends the reader and the watch; stops the stream when its end was not seen, unless it is kept. */
  close(): Promise<void>;
}

/** Keys outlive the longest stream by so much. */
const TTL_SLACK_MS = 60_000;
/** For streams without a total deadline (transcriptions of up to MAX_AUDIO_SECONDS). */
const LONGEST_TTL_MS = 7 * 86_400_000;
/** Delivered bytes of which the log is told, at least. */
const ACKNOWLEDGE_BYTES = 262_144;
/** After a count that could not be told. */
const TELL_AGAIN_MS = 500;
/** A little more than two of the largest entries: so much must fit into the log besides them. */
const LARGEST_ENTRIES_BYTES = 131_072;
/** Transcripts are not acknowledged on the way: two hours with word times have 2 MB. */
const TRANSCRIPT_LOG_BYTES = 16_777_216;
/** A subscriber connection that is away would make a request wait for it. */
const SUBSCRIBE_TIMEOUT_MS = 2000;

/** Life of an open stream's keys, ms. */
export const openTtlMs = ({ config }: StreamContext, { totalMs }: Deadlines): number =>
  Math.min(totalMs, LONGEST_TTL_MS) + config.LOG_TTL_MS + TTL_SLACK_MS;

/** Subscribes to a new stream and opens its log. Throws `queue_unavailable`, `storage_full`. */
export async function openLog(
  context: StreamContext,
  streamId: string,
  { tenantId, deadlines, route, opening }: OpenLogOptions,
): Promise<StreamReader> {
  const { log, tenantStreams, watch, config, gatewayId } = context;
  const wasReady = context.redisReady();
  const ttlMs = openTtlMs(context, deadlines);
  const { LOG_TTL_MS: logTtlMs } = config;
  const maxLogBytes =
    opening.kind === 'transcription'
      ? Math.max(config.MAX_LOG_BYTES, TRANSCRIPT_LOG_BYTES)
      : config.MAX_LOG_BYTES;
  const queueNames = {
    queueName: route.queues[mainStage(route)] ?? '',
    ...(route.recordingCount ? { recordingsQueueName: route.queues.stt ?? '' } : {}),
  };
  return subscribeWhile(context, streamId, [
    log.open(
      { ...opening, tenantId, gatewayId, ...queueNames, maxLogBytes, ttlMs, logTtlMs },
      streamId,
    ),
    tenantStreams.add(tenantId, streamId),
  ]).catch((error: unknown) => {
    // It may be open all the same, and nobody else would end it: a transcription's state lives a week.
    if (wasReady) void watch.discard(streamId, VoiceError.from(error));
    throw error;
  });
}

/** A reader of the stream, when that has been done as well. Throws as `openLog` does. */
export async function subscribeWhile(
  { subscriber }: StreamContext,
  streamId: string,
  done: Promise<unknown>[],
): Promise<StreamReader> {
  const subscribing = subscriber.subscribe(streamId);
  const [reader] = await Promise.all([inTime(subscribing), ...done]).catch((cause: unknown) => {
    subscribing.then(
      (late) => late.close(), // a reader that nobody closes stays for ever
      () => undefined,
    );
    const code = isStorageFull(cause) ? 'storage_full' : 'queue_unavailable';
    throw new VoiceError(code, { cause, retryAfterSeconds: 1 });
  });
  return reader;
}

/**
 * Subscribes, opens the stream, enqueues: in this order, since the head of 16 of 300 streams was
 * lost the other way round. When the client leaves, the stream is stopped, and with it every
 * engine call. Throws `queue_unavailable`.
 */
export async function openStream(
  context: GatewayContext,
  { connection, enqueue, ...options }: OpenStreamOptions,
): Promise<OpenedStream> {
  const { tenantStreams, watch } = context;
  const { tenantId, deadlines, route } = options;
  const streamId = createStreamId();
  const reader = await openLog(context, streamId, options);
  const watched = new WatchedStream(reader, deadlines, route);
  watch.add(watched);
  reader.onStop = () => connection.stop(new VoiceError('stream_cancelled'));
  const stop = () => {
    void watch.end(watched, new VoiceError('stream_cancelled'));
    reader.fail(new VoiceError('stream_cancelled'));
  };
  connection.left.addEventListener('abort', stop, { once: true });
  const close = async () => {
    connection.left.removeEventListener('abort', stop);
    watch.delete(watched);
    reader.close();
    if (!watched.ended && !reader.sawEnd) {
      await watch.end(watched, new VoiceError('stream_cancelled'));
    }
    // Not awaited: the next look at the tenant's streams forgets what has ended as well.
    tenantStreams.remove(tenantId, streamId).catch(() => undefined);
  };
  try {
    if (connection.left.aborted) throw new ClientLeft();
    await enqueue(streamId);
  } catch (error) {
    await close();
    throw error instanceof ClientLeft ? error : VoiceError.from(error, 'queue_unavailable');
  }
  return { streamId, reader, watched, close };
}

async function inTime<Answer>(subscribing: Promise<Answer>): Promise<Answer> {
  const answer = await answerWithin(SUBSCRIBE_TIMEOUT_MS, subscribing);
  if (answer === LATE) throw new Error(`no subscription within ${SUBSCRIBE_TIMEOUT_MS} ms`);
  return answer;
}

/**
 * The stream's entries in order, claims left out, each batch as it came; ends after the terminal
 * one. Throws the stream's error.
 */
export async function* readStream({
  reader,
  watched,
}: OpenedStream): AsyncGenerator<StreamEntry[]> {
  for (;;) {
    const entries = await reader.next();
    if (entries.length === 0) throw new ClientLeft();
    for (const entry of entries) watched.note(entry);
    const failed = entries.find(isFailure);
    const told = entries.filter((entry) => entry.event.type !== 'job-claim' && !isFailure(entry));
    if (told.length > 0) yield told;
    if (failed?.event.type === 'stream-error') throw VoiceError.deserialize(failed.event.error);
    // Not `watched.ended`: the watch sets that when it decides to end a stream, before its error is here.
    if (entries.at(-1)?.terminal) return;
  }
}

/** Not the text of a played stream that broke off: its sound goes on. */
const isFailure = ({ event, terminal }: StreamEntry): boolean =>
  terminal && event.type === 'stream-error';

/** Tells the log what was delivered, seldom: an answer of ordinary length never does. */
export class DeliveryCount {
  readonly #context: StreamContext;
  readonly #streamId: string;
  /** With a small log the producer would wait for a count that is never told. */
  readonly #tellBytes: number;
  #seq = 0;
  #bytes = 0;
  #samples = 0;
  #toldBytes = 0;
  #toldSamples = 0;
  #failedAtMs = -Infinity;

  constructor(context: StreamContext, streamId: string) {
    this.#context = context;
    this.#streamId = streamId;
    const room = context.config.MAX_LOG_BYTES - LARGEST_ENTRIES_BYTES;
    this.#tellBytes = Math.max(0, Math.min(ACKNOWLEDGE_BYTES, room));
  }

  /** Everything up to `seq` is delivered. */
  async add(seq: number, sizeBytes: number, samples = 0): Promise<void> {
    this.#seq = Math.max(this.#seq, seq);
    this.#bytes += sizeBytes;
    this.#samples += samples;
    if (this.#bytes - this.#toldBytes >= this.#tellBytes) await this.tell();
  }

  /** The last count could not be told. */
  get failed(): boolean {
    return this.#failedAtMs > -Infinity;
  }

  /** Samples that were delivered and that the log does not know of yet. */
  get untoldSamples(): number {
    return this.#samples - this.#toldSamples;
  }

  /** What could not be told stays untold: producers may wait for nothing else. */
  async tell(): Promise<void> {
    // A Redis that hangs costs each call its time limit.
    if (performance.now() - this.#failedAtMs < TELL_AGAIN_MS) return;
    const delivered = { seq: this.#seq, bytes: this.#bytes, samples: this.#samples };
    try {
      await this.#context.log.acknowledge(this.#streamId, delivered);
      this.#toldBytes = delivered.bytes;
      this.#toldSamples = delivered.samples;
      this.#failedAtMs = -Infinity;
    } catch (error) {
      this.#failedAtMs = performance.now();
      this.#context.logger.warn({ err: error, streamId: this.#streamId }, 'acknowledge');
    }
  }
}
