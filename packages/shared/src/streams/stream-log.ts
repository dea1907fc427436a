import type { Redis } from 'ioredis';
import { VoiceError } from '../errors/voice-error.ts';
import { type PhraseText, phraseTextSchema } from '../jobs/job-catalog.ts';
import { decodeEvent, encodeEvent, eventHeader } from './event-codec.ts';
import type { StreamEntry } from './stream-event.ts';
import { CONTROL_CHANNEL, createStreamId, logKey, stateKey, streamChannel } from './stream-key.ts';
import { isStorageFull, throwRedisFull } from './storage-full.ts';
import { StreamProducer } from './stream-producer.ts';
import { defineStreamScripts, type ScriptedRedis } from './stream-scripts.ts';

export type StreamStatus = 'open' | 'done' | 'error' | 'cancelled';

/** What a stream is opened with. */
export interface StreamOpening {
  tenantId: string;
  gatewayId: string;
  kind: 'chat' | 'speech' | 'transcription';
  model: string;
  /** Where its first job waits. */
  queueName: string;
  /** Where its recordings wait, before that. */
  recordingsQueueName?: string;
  /** Bytes that may lie unread before producers have to wait (`MAX_LOG_BYTES`). */
  maxLogBytes: number;
  /** Life of an open stream's keys, ms: above its total deadline. */
  ttlMs: number;
  /** Life of the keys after the end, ms (`LOG_TTL_MS`). */
  logTtlMs: number;
  /** Keeps delivered entries for another reader. */
  resumable?: boolean;
  /** How it is watched and answered again, on any gateway; JSON. */
  kept?: string;
  /** Audio: number of phrases, where it is known from the start. */
  phraseCount?: number;
  /** Audio: what all speech jobs of the stream have in common, as JSON. */
  speech?: string;
  /** Audio: phrases synthesized at once. */
  parallelPhrases?: number;
  /** The sound is played by the gateway: its producer `playback` ends the stream when all was heard. */
  playback?: boolean;
  /** Audio: samples that may be made and not yet sent. */
  aheadSamples?: number;
}

/** A phrase that `release` moved to running; the caller enqueues it. */
export interface ReleasedPhrase extends PhraseText {
  phraseIndex: number;
}

export interface FinishOptions {
  /** Only a stream of this tenant; left out: any. */
  tenantId?: string;
  afterPhrases?: boolean;
}

export interface Claim {
  /** Only an `open` stream takes anything; `ended`: this producer has its end already. */
  status: StreamStatus | 'gone' | 'ended';
  epoch: number;
  /** Entries this producer had already written in an earlier run. */
  lastIndex: number;
  /** Samples of audio among them. */
  samples: number;
}

export interface LogRange {
  entries: StreamEntry[];
  /** Of all entries in the range, those of unknown types included; 0 when it is empty. */
  firstSeq: number;
  lastSeq: number;
  /** The highest seq the stream has. */
  stateSeq: number;
  /** `gone` when the stream's keys have expired or were deleted. */
  status: StreamStatus | 'gone';
}

const PHRASES_PER_CALL = 1000;

/**
 * A stream's log in Redis: the truth about what was produced, in order, with one end.
 * Pub/sub carries each entry as well, so that a reader need not ask (design: lifecycle.md).
 * All methods reject with ioredis' errors when Redis is away.
 */
export class StreamLog {
  readonly #redis: ScriptedRedis;

  constructor(redis: Redis) {
    this.#redis = defineStreamScripts(redis);
  }

  /** Opens a stream under a new id. Subscribe to the id before the job is enqueued. */
  async open(opening: StreamOpening, streamId: string = createStreamId()): Promise<string> {
    const { ttlMs, resumable, playback, ...rest } = opening;
    const flags = { resumable: resumable ? 1 : 0, ...(playback ? { playback: 1 } : {}) };
    const fields = { ...rest, ttlMs, ...flags };
    const values = Object.entries(fields).flatMap(([name, value]) => [name, String(value)]);
    await this.#redis.antiphonOpen(stateKey(streamId), ttlMs, ...values);
    return streamId;
  }

  /** Lays phrases `firstIndex`, `firstIndex + 1`, … into the stream, for `release` to hand out. */
  async addPhrases(streamId: string, firstIndex: number, phrases: PhraseText[]): Promise<void> {
    const bodies = phrases.map((phrase) => JSON.stringify(phrase));
    for (let start = 0; start < bodies.length; start += PHRASES_PER_CALL) {
      const part = bodies.slice(start, start + PHRASES_PER_CALL);
      await this.#redis.antiphonWait(stateKey(streamId), firstIndex + start, ...part);
    }
  }

  /** Phrases that may run now. Called by whoever changed a number that decides it. */
  async release(streamId: string): Promise<{ speech: string; phrases: ReleasedPhrase[] }> {
    const [speech, ...found] = await this.#redis.antiphonRelease(stateKey(streamId));
    const phrases: ReleasedPhrase[] = [];
    for (let position = 0; position + 1 < found.length; position += 2) {
      const body = phraseTextSchema.parse(JSON.parse(String(found[position + 1])));
      phrases.push({ phraseIndex: Number(found[position]), ...body });
    }
    return { speech: String(speech ?? ''), phrases };
  }

  /** A handler's first act; see `claim.lua`. Throws `storage_full` when Redis has no memory left. */
  async claim(streamId: string, producer: string, workerId: string): Promise<Claim> {
    const keys = [stateKey(streamId), logKey(streamId)] as const;
    const header = eventHeader('job-claim');
    const channel = streamChannel(streamId);
    const [status, epoch, lastIndex, samples] = await this.#redis
      .antiphonClaim(...keys, producer, workerId, header, channel)
      .catch(throwRedisFull);
    return { status: status as Claim['status'], epoch, lastIndex, samples };
  }

  /** A claimed producer's pen. */
  producer(streamId: string, producer: string, claim: Claim): StreamProducer {
    return new StreamProducer(this.#redis, { streamId, producer, claim });
  }

  /**
   * Ends the stream with an error that its client is told. The first end wins; later ones do
   * nothing. `afterPhrases`: what is cut into phrases already is spoken first. A Redis without memory takes no such entry: then the end is published only, as
   * `storage_full`, and the stream's keys are freed.
   */
  async finish(
    streamId: string,
    error: VoiceError,
    { tenantId = '*', afterPhrases = false }: FinishOptions = {},
  ): Promise<StreamStatus | 'gone'> {
    const keys = [stateKey(streamId), logKey(streamId)] as const;
    const control = JSON.stringify({ type: 'stream-end', streamId });
    const told = [tenantId, streamChannel(streamId), CONTROL_CHANNEL, control] as const;
    const status = error.code === 'stream_cancelled' ? 'cancelled' : 'error';
    const [, ended] = await this.#redis
      .antiphonFinish(...keys, status, encodeError(error), ...told, afterPhrases ? '1' : '0')
      .catch((failure: unknown) => {
        if (!isStorageFull(failure)) throw failure;
        const full = new VoiceError('storage_full', { cause: failure });
        return this.#redis.antiphonDrop(...keys, encodeError(full), ...told);
      });
    return ended as StreamStatus | 'gone';
  }

  /** What was delivered so far: entries up to `seq`, and in absolute numbers bytes and samples. */
  async acknowledge(
    streamId: string,
    { seq, bytes, samples }: { seq: number; bytes: number; samples: number },
  ): Promise<void> {
    await this.#redis.antiphonAcknowledge(
      stateKey(streamId),
      logKey(streamId),
      seq,
      bytes,
      samples,
    );
  }

  /** At most `count` entries from `fromSeq` on, and the stream's status. */
  async read(streamId: string, fromSeq: number, count: number): Promise<LogRange> {
    const [rows, [status, stateSeq]] = await Promise.all([
      this.#redis.xrangeBuffer(logKey(streamId), `${fromSeq}-0`, '+', 'COUNT', count),
      this.#redis.hmget(stateKey(streamId), 'status', 'seq'),
    ]);
    const seqs = rows.map(([id]) => Number.parseInt(id.toString('latin1'), 10));
    const entries = rows.flatMap(([, [, flag, , encoded]], position) => {
      const entry = parseEntry(seqs[position] ?? 0, flag, encoded);
      return entry ? [entry] : [];
    });
    return {
      entries,
      firstSeq: seqs[0] ?? 0,
      lastSeq: seqs.at(-1) ?? 0,
      stateSeq: Number(stateSeq ?? 0),
      status: (status ?? 'gone') as LogRange['status'],
    };
  }

  /** Notes facts (times, counts) in the stream's state, for `state`; nothing when it is gone. */
  async annotate(streamId: string, facts: Record<string, string | number>): Promise<void> {
    await this.#redis.antiphonAnnotate(stateKey(streamId), ...Object.entries(facts).flat());
  }

  /** Fields of the stream's state; `undefined` when it is unknown. */
  async state(streamId: string): Promise<Record<string, string> | undefined> {
    const state = await this.#redis.hgetall(stateKey(streamId));
    return state['status'] === undefined ? undefined : state;
  }
}

const encodeError = (error: VoiceError): Buffer =>
  encodeEvent({ type: 'stream-error', error: error.serialize() });

const TERMINAL_FLAG = 0x21; // '!'

/** Undefined for a type that a newer version wrote. */
function parseEntry(
  seq: number,
  flag: Buffer | undefined,
  encoded: Buffer | undefined,
): StreamEntry | undefined {
  if (!encoded) return undefined;
  const event = decodeEvent(encoded);
  if (!event) return undefined;
  return { seq, terminal: flag?.[0] === TERMINAL_FLAG, event, sizeBytes: encoded.length };
}

/** A pub/sub message: `<flag><seq>` and, when small enough, `:<event>`. */
export interface StreamMessage {
  seq: number;
  terminal: boolean;
  encoded: Buffer | undefined;
}

export function parseMessage(message: Buffer): StreamMessage {
  let seq = 0;
  let position = 1;
  for (; position < message.length; position += 1) {
    const digit = (message[position] ?? 0) - 0x30;
    if (digit < 0 || digit > 9) break;
    seq = seq * 10 + digit;
  }
  const encoded = position < message.length ? message.subarray(position + 1) : undefined;
  return { seq, terminal: message[0] === TERMINAL_FLAG, encoded };
}
