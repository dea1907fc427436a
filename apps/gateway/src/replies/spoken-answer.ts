import type { AudioEncoder } from '@antiphon/shared/audio/audio-encoder';
import { BYTES_PER_SAMPLE } from '@antiphon/shared/audio/audio-format';
import type { SerializedVoiceError } from '@antiphon/shared/errors/voice-error';
import type { StreamEvent } from '@antiphon/shared/streams/stream-event';
import type { GatewayContext } from '../gateway-context.ts';
import { spokenUsage } from '../openai/spoken-usage.ts';
import type { OpenedStream } from './open-stream.ts';
import { readSound } from './stream-sound.ts';
import type { StreamTimer } from './stream-timer.ts';

/** What a spoken answer gives its writer, in the order in which a client may have it. */
export type SpokenPart =
  /** Encoded; `samples` of sound that went into it. */
  | { type: 'sound'; bytes: Uint8Array; samples: number }
  | { type: 'transcript'; text: string }
  /** Shown and not said: code, tool calls. */
  | { type: 'shown'; delta: Record<string, unknown> }
  | { type: 'phrase-error'; phraseIndex: number; error: SerializedVoiceError };

const isEmpty = (delta: object): boolean => Object.keys(delta).length === 0;

export interface SpokenAnswerOptions {
  tenantId: string;
  encoder: AudioEncoder;
  timer: StreamTimer;
  /** Length of the recordings that were heard in earlier turns. */
  heardSeconds: number;
  /** When the answer was asked for: Unix seconds. */
  createdSeconds: number;
}

/** The parts of one spoken answer, and what is known of it afterwards. */
export class SpokenAnswer {
  readonly audioId: string;
  #finish: Extract<StreamEvent, { type: 'text-end' }> | undefined;
  #transcript = '';
  #spokenSamples = 0;
  #heardSeconds: number;
  readonly #context: GatewayContext;
  readonly #opened: OpenedStream;
  readonly #options: SpokenAnswerOptions;

  constructor(context: GatewayContext, opened: OpenedStream, options: SpokenAnswerOptions) {
    this.#context = context;
    this.#opened = opened;
    this.#options = options;
    this.audioId = `audio_${opened.streamId}`;
    this.#heardSeconds = options.heardSeconds;
  }

  /** Throws the stream's error; what came before it was yielded. */
  async *parts(): AsyncGenerator<SpokenPart> {
    const { encoder, timer } = this.#options;
    let samples = 0;
    try {
      for await (const part of readSound(this.#context, this.#opened)) {
        timer.note(part);
        const told = part.type === 'event' ? this.#take(part.event) : undefined;
        if (told) yield told;
        if (part.type !== 'pcm') continue;
        const bytes = await encoder.encode(part.pcm);
        samples += part.pcm.byteLength / BYTES_PER_SAMPLE;
        this.#spokenSamples += part.pcm.byteLength / BYTES_PER_SAMPLE;
        if (bytes.length > 0) yield { type: 'sound', bytes, samples };
        if (bytes.length > 0) samples = 0;
        await part.delivered();
      }
      // Of an answer without a word the encoder would make a header without sound.
      const rest = this.hasSound ? await encoder.end() : new Uint8Array();
      if (rest.length > 0) yield { type: 'sound', bytes: rest, samples };
    } finally {
      // An answer that was stopped has an id as well: what was said of it may be asked for.
      const isOver = this.#opened.follower === undefined || this.#opened.watched.ended;
      if (isOver && !this.#finish && this.#transcript !== '') void this.#keep(this.#transcript);
    }
  }

  get transcript(): string {
    return this.#transcript;
  }

  get hasSound(): boolean {
    return this.#spokenSamples > 0;
  }

  get finishReason() {
    return this.#finish?.finishReason ?? 'stop';
  }

  get usage() {
    const [heardSeconds, spokenSamples] = [this.#heardSeconds, this.#spokenSamples];
    return spokenUsage(this.#finish?.usage, { heardSeconds, spokenSamples });
  }

  /**
   * Until when later turns may name the answer by its id, at least: Unix seconds. By the time of
   * the request, so that whoever reads the answer again reads the same.
   */
  async keepUntil(): Promise<number> {
    await this.#keep(this.#finish?.answer ?? this.#transcript);
    const { AUDIO_ID_TTL_MS: ttlMs } = this.#context.config;
    return this.#options.createdSeconds + Math.floor(ttlMs / 1000);
  }

  #take(event: StreamEvent): SpokenPart | undefined {
    switch (event.type) {
      case 'phrase-start': {
        const text = event.before + event.text;
        this.#transcript += text;
        return { type: 'transcript', text };
      }
      case 'message-delta':
        // An empty one tells that the model still writes.
        return isEmpty(event.delta) ? undefined : { type: 'shown', delta: event.delta };
      case 'phrase-error':
        return { type: 'phrase-error', phraseIndex: event.phraseIndex, error: event.error };
      case 'text-end':
        this.#finish = event;
        return undefined;
      case 'transcript-end':
        this.#heardSeconds += event.durationSeconds;
        return undefined;
      default:
        return undefined;
    }
  }

  async #keep(text: string): Promise<void> {
    const { spokenAnswers, config, logger } = this.#context;
    await spokenAnswers
      .keep(this.#options.tenantId, this.audioId, text, config.AUDIO_ID_TTL_MS)
      .catch((error: unknown) => {
        // The id will be refused like an expired one; the answer itself is whole.
        logger.warn({ err: error, streamId: this.#opened.streamId }, 'spoken answer not kept');
      });
  }
}
