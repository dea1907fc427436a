import type { Deadlines, Stage } from '@antiphon/shared/jobs/job-catalog';
import type { StreamEntry, StreamEvent } from '@antiphon/shared/streams/stream-event';
import type { StreamReader } from '@antiphon/shared/streams/stream-reader';
import { StreamTally } from '../metrics/stream-tally.ts';

export interface Producer {
  workerId: string;
  hasOutput: boolean;
  ended: boolean;
  /** When its worker last claimed or wrote. */
  heardAtMs: number;
  /** When its worker was first seen dead. */
  lostAtMs: number | undefined;
}

/** A job that waits to be claimed. */
interface Wait {
  queueName: string;
  /** `Infinity`: not bounded by the queue deadline, since its turn may come late (later phrases). */
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
  /** Phrases of a text that is known from the start. */
  phraseCount?: number;
}

/** The stage whose output the client waits for first. */
export const mainStage = ({ queues, firstStage }: StreamRoute): Stage =>
  queues.llm === undefined ? firstStage : 'llm';

type ClaimEvent = Extract<StreamEvent, { type: 'job-claim' }>;

/** After these their producer writes nothing more. */
const ENDS = new Set(['text-end', 'stream-error', 'audio-end', 'phrase-error', 'transcript-end']);

/** Whose output an event is. */
function producerOf(event: StreamEvent): string | undefined {
  switch (event.type) {
    case 'text-delta':
    case 'text-end':
    case 'message-delta':
    case 'phrase-start':
    case 'stream-error': // its text broke off, where it is played
      return 'chat';
    case 'audio-delta':
    case 'audio-end':
    case 'phrase-error':
      return `phrase-${event.phraseIndex}`;
    case 'transcript-delta':
      return 'transcription';
    case 'transcript-end':
      return event.partIndex === undefined ? 'transcription' : `transcription-${event.partIndex}`;
    default:
      return undefined;
  }
}

const stageOf = (producer: string): Stage => {
  if (producer.startsWith('phrase-')) return 'tts';
  return producer.startsWith('transcription') ? 'stt' : 'llm';
};

/** For how long an answer was held back by its listener, who may take as long as its sound lasts. */
class ListeningTime {
  /** When the last sound was heard. */
  lastAtMs = 0;
  #unheardCount = 0;
  #sinceMs = 0;
  #totalMs = 0;

  get runs(): boolean {
    return this.#unheardCount > 0;
  }

  /** A chunk was given out to be heard. */
  begin(): void {
    if (this.#unheardCount === 0) this.#sinceMs = performance.now();
    this.#unheardCount += 1;
  }

  /** One of them was taken. */
  end(): void {
    this.#unheardCount -= 1;
    if (this.#unheardCount > 0) return;
    this.lastAtMs = performance.now();
    this.#totalMs += this.lastAtMs - this.#sinceMs;
  }

  totalMs(nowMs: number): number {
    return this.#totalMs + (this.runs ? nowMs - this.#sinceMs : 0);
  }
}

export interface WatchOf {
  /**
   * Who watches: the reply of a stream's only client, the keeper of one that goes on without its
   * client, or the reply of one that reads a kept stream.
   */
  role?: 'owner' | 'keeper' | 'follower';
  /** How long ago it was opened, where that was by another process. */
  ageMs?: number;
}

/** One stream under watch; the reply tells it of every entry. */
export class WatchedStream {
  readonly reader: StreamReader;
  readonly deadlines: Deadlines;
  readonly role: NonNullable<WatchOf['role']>;
  readonly openedAtMs: number;
  readonly producers = new Map<string, Producer>();
  /** By stage: what nobody has claimed yet. */
  readonly waits = new Map<Stage, Wait>();
  /** When the job whose output the client gets was claimed: not a recording's. */
  claimedAtMs: number | undefined;
  /** When the last of its recordings was heard. */
  heardAtMs: number | undefined;
  firstEventAtMs: number | undefined;
  deliveredSeq = 0;
  /** Phrases that a tts-worker has begun. */
  phrasesClaimed = 0;
  #phrasesCut: number;
  readonly listening = new ListeningTime();
  readonly tally = new StreamTally();
  /** Nothing is to be judged any more: its end was delivered, or was decided here. */
  ended = false;
  /** Called once a second: speech streams release phrases that got lost. */
  onSecond: (() => void) | undefined;
  tickedAtMs = performance.now();

  readonly #route: StreamRoute;
  #recordingsLeft: number;

  constructor(
    reader: StreamReader,
    deadlines: Deadlines,
    route: StreamRoute,
    { role = 'owner', ageMs = 0 }: WatchOf = {},
  ) {
    this.reader = reader;
    this.deadlines = deadlines;
    this.role = role;
    this.openedAtMs = performance.now() - ageMs;
    this.#route = route;
    this.#recordingsLeft = route.recordingCount ?? 0;
    this.#phrasesCut = route.phraseCount ?? 0;
    this.#waitFor(route.firstStage);
  }

  note(entry: StreamEntry): void {
    const { seq, terminal, event } = entry;
    this.deliveredSeq = seq;
    this.tally.note(entry);
    if (terminal) this.ended = true;
    if (event.type === 'job-claim') return this.#noteClaim(event);
    const isRecording = event.type === 'transcript-end' && event.partIndex !== undefined;
    this.#noteOutput(event);
    if (isRecording) this.#noteRecording();
    else this.firstEventAtMs ??= performance.now();
    if (event.type === 'phrase-start') this.#noteCut(event.phraseIndex);
  }

  /** Since when nothing was produced although no listener held it back; undefined while one does. */
  get idleSinceMs(): number | undefined {
    const { runs, lastAtMs } = this.listening;
    return runs ? undefined : Math.max(this.reader.producedAtMs, lastAtMs);
  }

  get kind(): 'chat' | 'speech' | 'transcription' {
    const stage = mainStage(this.#route);
    if (stage === 'llm') return 'chat';
    return stage === 'tts' ? 'speech' : 'transcription';
  }

  /** Entries wait for a slow client: what its producers did since is not known here. */
  get hasUndelivered(): boolean {
    return this.reader.producedSeq > this.deliveredSeq;
  }

  /** Its recordings are not all heard yet: they have deadlines of their own, in their worker. */
  get isListening(): boolean {
    return this.#recordingsLeft > 0;
  }

  #waitFor(stage: Stage, sinceMs = performance.now()): void {
    const queueName = this.#route.queues[stage];
    if (queueName === undefined || this.waits.has(stage)) return;
    this.waits.set(stage, { queueName, sinceMs, unservedSinceMs: undefined });
  }

  #noteCut(phraseIndex: number): void {
    this.#phrasesCut = phraseIndex + 1;
    this.#waitFor('tts', phraseIndex === 0 ? performance.now() : Infinity);
  }

  #noteClaim({ producer, workerId, lastIndex }: ClaimEvent): void {
    if (producer === 'playback') return; // this process itself
    const stage = stageOf(producer);
    this.waits.delete(stage);
    if (stage === mainStage(this.#route)) this.claimedAtMs ??= performance.now();
    if (stage === 'tts' && !this.producers.has(producer)) this.phrasesClaimed += 1;
    if (this.#phrasesCut > this.phrasesClaimed) this.#waitFor('tts', Infinity);
    const hasOutput = lastIndex > 0;
    const heardAtMs = performance.now();
    this.producers.set(producer, {
      ...{ workerId, hasOutput, ended: false, heardAtMs },
      lostAtMs: undefined,
    });
  }

  #noteRecording(): void {
    this.#recordingsLeft -= 1;
    if (this.#recordingsLeft > 0) return;
    this.heardAtMs = performance.now();
    this.#waitFor('llm');
  }

  #noteOutput(event: StreamEvent): void {
    const producer = this.producers.get(producerOf(event) ?? '');
    if (!producer) return;
    producer.hasOutput = true;
    producer.heardAtMs = performance.now();
    producer.ended ||= ENDS.has(event.type);
  }
}
