import { BYTES_PER_SAMPLE, SAMPLE_RATE_HZ } from '@antiphon/shared/audio/audio-format';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import { releasePhrases } from '@antiphon/shared/queue/phrase-release';
import type { StreamEntry, StreamEvent } from '@antiphon/shared/streams/stream-event';
import type { GatewayContext, StreamContext } from '../gateway-context.ts';
import { DeliveryCount, type OpenedStream, readStream } from './open-stream.ts';
import { type OrderedChunk, PhraseOrder } from './phrase-order.ts';

/** What a stream with phrases gives its reply. */
export type SoundPart =
  /**
   * s16le mono at `SAMPLE_RATE_HZ`; phrases in order, whatever order they were made in. `delivered`
   * is called when it has gone to the listener: what has not decides how far ahead synthesis may run.
   */
  | {
      type: 'pcm';
      pcm: Uint8Array;
      delivered: () => Promise<void>;
      /** What the cache of speech said; of a chunk that had to wait long it may be unknown. */
      cache?: 'hit' | 'miss' | undefined;
    }
  /** Everything else as it comes, ahead of its sound. */
  | { type: 'event'; event: Exclude<StreamEvent, { type: 'audio-delta' | 'audio-end' }> }
  /** The last sound was given out. */
  | { type: 'sound-end' };

/** Less is not told: a call to Redis per chunk would buy nothing while 5 s may lie ahead. */
const TELL_SAMPLES = SAMPLE_RATE_HZ / 2;

/**
 * A stream's events and its sound in order. `phraseCount`: phrases known from the start; those of a
 * chat are counted as they are cut.
 */
export async function* readSound(
  context: GatewayContext,
  opened: OpenedStream,
  phraseCount = 0,
): AsyncGenerator<SoundPart> {
  const order = new PhraseOrder();
  const listener = new SoundListener(context, opened, phraseCount);
  let ended = false;
  for await (const entries of readStream(opened)) {
    // What waits for its turn stays in the log.
    const deliveredUpTo = (last: number) => Math.min(last, (order.firstWaitingSeq ?? Infinity) - 1);
    // One by one, not a batch at a time: who reads the stream again gets the same parts in the same order.
    for (const entry of entries) {
      order.add(entry);
      const { event, seq } = entry;
      if (event.type !== 'audio-delta' && event.type !== 'audio-end') {
        listener.note(event);
        yield { type: 'event', event };
      }
      if (event.type !== 'audio-delta') await listener.passed(entry, deliveredUpTo(seq));
      for (const chunk of order.take()) {
        const pcm = chunk.pcm ?? (await readAgain(opened, chunk));
        yield {
          type: 'pcm',
          pcm,
          cache: chunk.cache,
          delivered: listener.expect(chunk, pcm, deliveredUpTo(seq)),
        };
      }
    }
    if (ended || order.phrasesTaken !== listener.phrasesExpected) continue;
    ended = true;
    yield { type: 'sound-end' };
  }
}

/** Who hears the sound: counts what went to him, and has the next phrases made. */
export class SoundListener {
  readonly #context: StreamContext;
  readonly #opened: OpenedStream;
  readonly #delivered: DeliveryCount;
  #cutCount: number;
  #textEnded: boolean;

  constructor(context: StreamContext, opened: OpenedStream, phraseCount: number) {
    this.#context = context;
    this.#opened = opened;
    this.#delivered = new DeliveryCount(context, opened.streamId);
    this.#cutCount = phraseCount;
    this.#textEnded = phraseCount > 0;
    opened.watched.onSecond = () => void this.#release();
  }

  /** Undefined while the text goes on. */
  get phrasesExpected(): number | undefined {
    return this.#textEnded ? this.#cutCount : undefined;
  }

  note(event: StreamEvent): void {
    if (event.type === 'phrase-start') {
      this.#cutCount += 1;
      // Nothing was told while there was nothing to be made: its release may have failed for that.
      if (this.#delivered.untoldSamples >= TELL_SAMPLES) void this.#release();
    }
    if (event.type === 'text-end' || event.type === 'stream-error') this.#textEnded = true;
  }

  /** What is no sound was given out. Counted as well: it takes room in the log. */
  async passed({ sizeBytes }: StreamEntry, upTo: number): Promise<void> {
    await this.#delivered.add(upTo, sizeBytes);
  }

  /** Sound is given out now; call the returned function when it was heard. */
  expect(
    { sizeBytes }: Pick<OrderedChunk, 'sizeBytes'>,
    pcm: Uint8Array,
    upTo: number,
  ): () => Promise<void> {
    const { watched } = this.#opened;
    const samples = pcm.byteLength / BYTES_PER_SAMPLE;
    watched.listening.begin();
    return async () => {
      watched.listening.end();
      await this.#delivered.add(upTo, sizeBytes, samples);
      if (this.#delivered.untoldSamples >= TELL_SAMPLES) await this.#release();
    };
  }

  async #release(): Promise<void> {
    const { watched, streamId } = this.#opened;
    // Those that run may wait for room as well.
    if (this.#delivered.failed) await this.#delivered.tell();
    if (watched.phrasesClaimed >= this.#cutCount) return;
    if (this.#delivered.untoldSamples > 0) await this.#delivered.tell();
    const { log, jobs, logger } = this.#context;
    releasePhrases(log, jobs, streamId).catch((error: unknown) => {
      logger.warn({ err: error, streamId }, 'release'); // the next second tries again
    });
  }
}

async function readAgain({ reader }: OpenedStream, { seq }: OrderedChunk): Promise<Uint8Array> {
  const [entry]: StreamEntry[] = await reader.readAgain(seq, 1);
  if (entry?.seq !== seq || entry.event.type !== 'audio-delta') {
    throw new VoiceError('internal_error', { cause: `entry ${seq} left the log too early` });
  }
  return entry.event.pcm;
}
