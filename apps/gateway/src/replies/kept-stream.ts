import { VoiceError } from '@antiphon/shared/errors/voice-error';
import { STAGES } from '@antiphon/shared/jobs/job-catalog';
import type { StreamEntry } from '@antiphon/shared/streams/stream-event';
import type { StreamReader } from '@antiphon/shared/streams/stream-reader';
import { z } from 'zod';
import type { StreamContext } from '../gateway-context.ts';
import { answerSchema } from './answer.ts';
import { largestAnswerBytes } from './largest-answer.ts';
import { type OpenedStream, readStream } from './open-stream.ts';
import { SoundListener } from './stream-sound.ts';
import { WatchedStream } from './watched-stream.ts';

const ms = z
  .number()
  .nullable()
  .transform((value) => value ?? Infinity); // which JSON writes as null

/** What any gateway needs to watch a stream and to answer it again; in its state, as JSON. */
export const keptSchema = z.object({
  answer: answerSchema,
  route: z.object({
    queues: z.object({
      llm: z.string().optional(),
      tts: z.string().optional(),
      stt: z.string().optional(),
    }),
    firstStage: z.enum(STAGES),
    recordingCount: z.number(),
    phraseCount: z.number().optional(),
  }),
  deadlines: z.object({ queueMs: ms, firstEventMs: ms, idleMs: ms, totalMs: ms }),
  /** Goes on to its end, whoever reads it. */
  background: z.boolean(),
  /** As the client sent it: stands for this stream. */
  idempotencyKey: z.string().optional(),
});

export type Kept = z.output<typeof keptSchema>;

export interface KeptStreamOptions {
  streamId: string;
  tenantId: string;
  reader: StreamReader;
  kept: Kept;
  /** How long ago it was opened. */
  ageMs?: number;
}

/**
 * Reads a stream in its clients' stead: watches its deadlines, has its phrases made, and holds no
 * producer up. So a stream that may be resumed is made at its own pace, whoever reads it.
 */
export class KeptStream {
  readonly streamId: string;
  readonly tenantId: string;
  readonly kept: Kept;
  readonly #context: StreamContext;
  readonly #opened: OpenedStream;
  #abandoned = false;
  #bytes = 0;

  constructor(
    context: StreamContext,
    { streamId, tenantId, reader, kept, ageMs = 0 }: KeptStreamOptions,
  ) {
    this.#context = context;
    this.streamId = streamId;
    this.tenantId = tenantId;
    this.kept = kept;
    const { deadlines, route } = kept;
    const watched = new WatchedStream(reader, deadlines, route, { role: 'keeper', ageMs });
    this.#opened = { streamId, reader, watched, close: async () => this.abandon() };
  }

  /**
   * Resolves at the stream's end, and when it is abandoned, with whether it has ended. Throws what
   * keeps it from being watched: Redis is away for good, or lost it.
   */
  async run(): Promise<boolean> {
    const { watch } = this.#context;
    const { reader, watched } = this.#opened;
    watch.add(watched);
    const listener = new SoundListener(this.#context, this.#opened, this.#phraseCount);
    try {
      for await (const entries of readStream(this.#opened)) {
        for (const entry of entries) await this.#take(entry, listener);
        this.#limit();
      }
      return true;
    } catch (error) {
      if (this.#abandoned) return false;
      if (reader.sawEnd) return true; // an end with an error
      throw error;
    } finally {
      watch.delete(watched);
      reader.close();
    }
  }

  /** Nobody wants it any more, and it is nobody's background; or what went wrong with it. */
  async cancel(error = new VoiceError('stream_cancelled')): Promise<void> {
    await this.#context.watch.end(this.#opened.watched, error);
  }

  /** Leaves it to another gateway. */
  abandon(): void {
    this.#abandoned = true;
    this.#opened.reader.close();
  }

  get #phraseCount(): number {
    const { answer } = this.kept;
    return answer.type === 'speech' ? answer.phraseCount : 0;
  }

  async #take(entry: StreamEntry, listener: SoundListener): Promise<void> {
    const { event, seq, sizeBytes } = entry;
    this.#bytes += sizeBytes;
    if (event.type === 'audio-delta') return listener.expect(entry, event.pcm, seq)();
    listener.note(event);
    if (event.type === 'text-end') await this.#keepAnswer(event.answer);
    await listener.passed(entry, seq);
  }

  /** The answer's id stands for all of its text, also where nobody reads to the end. */
  async #keepAnswer(text: string | undefined): Promise<void> {
    if (this.kept.answer.type !== 'spoken-chat' || text === undefined) return;
    const { spokenAnswers, config, logger } = this.#context;
    const { streamId, tenantId } = this;
    await spokenAnswers
      .keep(tenantId, `audio_${streamId}`, text, config.AUDIO_ID_TTL_MS)
      .catch((error: unknown) => logger.warn({ err: error, streamId }, 'spoken answer not kept'));
  }

  #limit(): void {
    const { watch, config } = this.#context;
    const { watched, reader } = this.#opened;
    if (this.kept.answer.type === 'transcription' || watched.ended || reader.sawEnd) return;
    if (this.#bytes <= largestAnswerBytes(config)) return;
    watched.ended = true;
    void watch.end(watched, new VoiceError('stream_too_large'));
  }
}
