import { setTimeout as delay } from 'node:timers/promises';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { AudioPlayer, PlayOptions, Playback } from '@antiphon/shared/services/audio-player';

const BYTES_PER_SAMPLE = 2;

export interface RecordingPlayerOptions {
  /** How much faster than a listener hears; `Infinity` (takes all at once) unless told. */
  speed?: number;
  /** How long the last of it still sounds when all was taken. */
  lingersMs?: number;
  /** Fails when so many samples of one stream were taken; 0: `play` itself fails. */
  failsAfterSamples?: number;
}

/** A loudspeaker that writes down what was heard, at the pace of one. */
export class RecordingPlayer implements AudioPlayer {
  readonly audible = true;
  readonly playbacks: RecordedPlayback[] = [];
  readonly #options: RecordingPlayerOptions;
  #closed = false;

  constructor(options: RecordingPlayerOptions = {}) {
    this.#options = options;
  }

  async play(options: PlayOptions): Promise<Playback> {
    if (this.#closed) throw new VoiceError('server_shutting_down');
    if (this.#options.failsAfterSamples === 0) throw failed('There is no loudspeaker.');
    const playback = new RecordedPlayback(options, this.#options);
    this.playbacks.push(playback);
    return playback;
  }

  /** Of this stream; throws when none was begun. */
  of(streamId: string): RecordedPlayback {
    const found = this.playbacks.find((playback) => playback.streamId === streamId);
    if (!found) throw new Error(`nothing was played of ${streamId}`);
    return found;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all(this.playbacks.map((playback) => playback.stop()));
  }
}

export class RecordedPlayback implements Playback {
  readonly streamId: string;
  readonly sampleRateHz: number;
  /** `performance.now()` of the first `stop` before the end, and of the end. */
  stoppedAtMs: number | undefined;
  endedAtMs: number | undefined;
  readonly #options: RecordingPlayerOptions;
  readonly #pieces: Uint8Array[] = [];
  readonly #halt = new AbortController();
  #samples = 0;
  #ended = false;
  #before: Promise<void> = Promise.resolve();

  constructor({ streamId, sampleRateHz }: PlayOptions, options: RecordingPlayerOptions) {
    this.streamId = streamId;
    this.sampleRateHz = sampleRateHz;
    this.#options = options;
  }

  /** All that was heard, s16le. */
  get heard(): Buffer {
    return Buffer.concat(this.#pieces);
  }

  async write(pcm: Uint8Array): Promise<void> {
    if (this.#ended) throw failed('The playback has ended.');
    this.#before = this.#hear(pcm, this.#before);
    await this.#before;
  }

  async end(): Promise<void> {
    this.#ended = true;
    if (this.stoppedAtMs !== undefined) throw failed('The playback was stopped.');
    await this.#before;
    const { lingersMs = 0 } = this.#options;
    await this.#pass(lingersMs);
    this.endedAtMs ??= performance.now();
  }

  async stop(): Promise<void> {
    if (this.endedAtMs === undefined) this.stoppedAtMs ??= performance.now();
    this.#halt.abort();
  }

  /** Stopped in the middle of it, none of a piece counts as heard. */
  async #hear(pcm: Uint8Array, before: Promise<void>): Promise<void> {
    await before;
    const { speed = Number.POSITIVE_INFINITY, failsAfterSamples } = this.#options;
    const samples = pcm.byteLength / BYTES_PER_SAMPLE;
    const lastsMs = (samples * 1000) / this.sampleRateHz / speed;
    await this.#pass(lastsMs);
    this.#samples += samples;
    if (this.#samples > (failsAfterSamples ?? Number.POSITIVE_INFINITY)) {
      throw failed('The loudspeaker broke.');
    }
    this.#pieces.push(pcm);
  }

  async #pass(ms: number): Promise<void> {
    const { signal } = this.#halt;
    if (ms > 0) await delay(ms, undefined, { signal }).catch(() => undefined);
    if (signal.aborted && this.endedAtMs === undefined) throw failed('The playback was stopped.');
  }
}

function failed(message: string): VoiceError {
  return new VoiceError('player_failed', { message });
}
