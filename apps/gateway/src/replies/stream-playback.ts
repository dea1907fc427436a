import { BYTES_PER_SAMPLE, SAMPLE_RATE_HZ } from '@antiphon/shared/audio/audio-format';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { Playback } from '@antiphon/shared/services/audio-player';
import { StreamClosed } from '@antiphon/shared/streams/stream-producer';
import type { GatewayContext } from '../gateway-context.ts';
import type { OpenedStream } from './open-stream.ts';
import type { SoundPart } from './stream-sound.ts';
import type { StreamTimer } from './stream-timer.ts';

/** How often whoever looks at the stream is told: once a second. */
const TELL_SAMPLES = SAMPLE_RATE_HZ;

type PcmPart = Extract<SoundPart, { type: 'pcm' }>;

export interface StreamPlaybackOptions {
  context: GatewayContext;
  opened: OpenedStream;
  playback: Playback;
  timer: StreamTimer;
}

/**
 * Plays one stream's sound beside its text, which goes ahead of it. What waits here is bounded by
 * how far ahead synthesis may run. When all was heard it ends the stream, as producer `playback`.
 */
export class StreamPlayback {
  readonly #options: StreamPlaybackOptions;
  readonly #waiting: PcmPart[] = [];
  readonly #textEnded = Promise.withResolvers<void>();
  readonly #running: Promise<void>;
  #wake: (() => void) | undefined;
  #allGiven = false;
  #stopped = false;
  /** Nothing can be played any more: what still comes is let go. */
  #failure: VoiceError | undefined;
  #heardSamples = 0;
  #toldSamples = 0;

  constructor(options: StreamPlaybackOptions) {
    this.#options = options;
    this.#running = this.#run();
  }

  push(part: PcmPart): void {
    if (this.#failure) return this.#options.opened.watched.listening.end();
    this.#waiting.push(part);
    this.#wake?.();
  }

  /** No more text comes: a stream that cannot be heard ends here. */
  textEnded(): void {
    this.#textEnded.resolve();
  }

  /** The last sound was pushed. */
  end(): void {
    this.#allGiven = true;
    this.#wake?.();
  }

  /** Silent at once. Resolves when nothing of this playback is left; harmless after the end. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#wake?.();
    this.#textEnded.resolve();
    await this.#options.playback.stop();
    await this.#running;
  }

  async #run(): Promise<void> {
    try {
      await this.#play();
    } catch (error) {
      if (this.#stopped) return;
      await this.#giveUp(error);
      await this.#textEnded.promise;
    }
    if (!this.#stopped) await this.#endStream();
  }

  async #play(): Promise<void> {
    const { playback, timer, opened } = this.#options;
    for (let part = await this.#next(); part; part = await this.#next()) {
      const samples = part.pcm.byteLength / BYTES_PER_SAMPLE;
      timer.sent(samples);
      await playback.write(part.pcm);
      this.#waiting.shift();
      this.#heardSamples += samples;
      void part.delivered(); // not awaited: a slow Redis would be heard as a gap
      if (this.#heardSamples - this.#toldSamples >= TELL_SAMPLES) void this.#tell();
    }
    // What the player has taken is not heard yet: no deadline runs meanwhile.
    opened.watched.listening.begin();
    await playback.end().finally(() => opened.watched.listening.end());
    timer.end();
  }

  /** The next part, which stays in the queue until it was taken; undefined at the end. */
  async #next(): Promise<PcmPart | undefined> {
    for (;;) {
      if (this.#stopped) throw new VoiceError('stream_cancelled');
      const [part] = this.#waiting;
      if (part || this.#allGiven) return part;
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      await promise;
    }
  }

  /** The text goes on. What nobody hears is not counted as delivered, so that no more is synthesized. */
  async #giveUp(error: unknown): Promise<void> {
    const { context, opened, playback } = this.#options;
    this.#failure = VoiceError.from(error, 'player_failed');
    context.logger.warn({ err: error, streamId: opened.streamId }, 'the sound cannot be played');
    for (const _part of this.#waiting.splice(0)) opened.watched.listening.end();
    await playback.stop();
    await this.#tell();
  }

  /** For whoever asks after the stream. */
  async #tell(): Promise<void> {
    const { context, opened } = this.#options;
    this.#toldSamples = this.#heardSamples;
    const failure: Record<string, string> = this.#failure
      ? { 'playback:error': this.#failure.code }
      : {};
    await context.log
      .annotate(opened.streamId, { sent: this.#heardSamples, ...failure })
      .catch((error: unknown) => {
        context.logger.warn({ err: error, streamId: opened.streamId }, 'playback not noted');
      });
  }

  async #endStream(): Promise<void> {
    const { context, opened } = this.#options;
    const { log, gatewayId } = context;
    const { streamId, reader } = opened;
    try {
      if (!this.#failure) await this.#tell();
      const claim = await log.claim(streamId, 'playback', gatewayId);
      if (claim.status !== 'open') return; // stopped meanwhile: the reader is told
      const producer = log.producer(streamId, 'playback', claim);
      await producer.append({ type: 'playback-end' }, { ends: 'stream' });
    } catch (error) {
      if (!(error instanceof StreamClosed)) reader.fail(VoiceError.from(error));
    }
  }
}
