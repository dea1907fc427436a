import type { OutgoingHttpHeaders } from 'node:http';
import type { StreamTimings } from '@antiphon/shared/streams/stream-timings';
import type { GatewayContext } from '../gateway-context.ts';
import type { OpenedStream } from './open-stream.ts';
import { PlaybackClock } from './playback-clock.ts';
import type { SoundPart } from './stream-sound.ts';

/** Names of the `Server-Timing` header (W3C Server Timing), in the order of a request's life. */
const STAGES = [
  ['queueMs', 'queue'],
  ['transcriptMs', 'transcript'],
  ['firstTokenMs', 'first-token'],
  ['firstPhraseMs', 'first-phrase'],
  ['synthesisMs', 'synthesis'],
  ['firstByteMs', 'first-byte'],
  ['firstAudioMs', 'first-audio'],
] as const satisfies readonly (readonly [keyof StreamTimings, string])[];

/** Takes the times of one stream with sound. */
export class StreamTimer {
  readonly #context: GatewayContext;
  readonly #opened: OpenedStream;
  readonly #receivedAtMs: number;
  readonly #clock = new PlaybackClock();
  #firstTokenMs: number | undefined;
  #phraseAtMs: number | undefined;
  #soundAtMs: number | undefined;
  #sentAtMs: number | undefined;
  #cache: 'hit' | 'miss' | undefined;

  constructor(context: GatewayContext, opened: OpenedStream, receivedAtMs: number) {
    this.#context = context;
    this.#opened = opened;
    this.#receivedAtMs = receivedAtMs;
  }

  /** Each part of the stream, before anything is done with it. */
  note(part: SoundPart): void {
    if (part.type === 'pcm') {
      if (this.#soundAtMs === undefined) this.#cache = part.cache;
      this.#soundAtMs ??= performance.now();
      return;
    }
    if (part.type !== 'event') return;
    const { event } = part;
    if (event.type !== 'phrase-start' || event.phraseIndex !== 0) return;
    this.#phraseAtMs = performance.now();
    this.#firstTokenMs = event.firstTokenMs;
  }

  /** Sound went to the client: the first time, the stages are logged and noted in the stream's state. */
  sent(samples: number): void {
    const first = this.#sentAtMs === undefined;
    this.#sentAtMs ??= performance.now();
    this.#clock.sent(samples);
    if (first) this.#tell('first audio');
  }

  /** A whole answer is sent at once: no playback runs beside it. */
  sentWhole(): void {
    if (this.#soundAtMs === undefined) return;
    this.#sentAtMs ??= performance.now();
    this.#tell('first audio');
  }

  /** The answer is out: gaps are logged and noted as well. */
  end(): void {
    if (this.#sentAtMs !== undefined && this.#clock.gapCount > 0) this.#tell('gaps in playback');
  }

  /**
   * What is known when the answer begins: `server-timing`, where what goes out now ends the last
   * stage, and `x-cache`, which tells where the sound came from that it begins with.
   */
  headers(): OutgoingHttpHeaders {
    const timings = this.#timings(this.#sentAtMs ?? performance.now());
    const stages = STAGES.flatMap(([key, name]) =>
      timings[key] === undefined ? [] : [`${name};dur=${timings[key]}`],
    );
    return {
      'server-timing': stages.join(', '),
      ...(this.#cache === undefined ? {} : { 'x-cache': this.#cache }),
    };
  }

  #tell(message: 'first audio' | 'gaps in playback'): void {
    const { log, logger, metrics } = this.#context;
    const { streamId, follower } = this.#opened;
    if (follower === 'again') return; // the first listener's are the stream's
    const timings = this.#timings(this.#sentAtMs);
    logger.info({ streamId, ...timings }, message);
    if (message === 'first audio') metrics.firstAudio(timings);
    else metrics.gaps();
    log.annotate(streamId, { timings: JSON.stringify(timings) }).catch((error: unknown) => {
      logger.warn({ err: error, streamId }, 'timings');
    });
  }

  #timings(sentAtMs: number | undefined): StreamTimings {
    const { openedAtMs, claimedAtMs, heardAtMs } = this.#opened.watched;
    const soundAtMs = this.#soundAtMs;
    const phraseAtMs = this.#phraseAtMs ?? openedAtMs;
    const firstTokenMs = this.#firstTokenMs;
    return rounded({
      queueMs: between(heardAtMs ?? openedAtMs, claimedAtMs),
      transcriptMs: between(openedAtMs, heardAtMs),
      firstTokenMs,
      firstPhraseMs:
        firstTokenMs === undefined
          ? undefined
          : between((claimedAtMs ?? openedAtMs) + firstTokenMs, this.#phraseAtMs),
      synthesisMs: between(phraseAtMs, soundAtMs),
      firstByteMs: soundAtMs === undefined ? undefined : between(soundAtMs, sentAtMs),
      firstAudioMs: soundAtMs === undefined ? undefined : between(this.#receivedAtMs, sentAtMs),
      gapCount: this.#clock.gapCount,
      gapMs: this.#clock.gapMs,
    });
  }
}

const between = (fromMs: number, toMs: number | undefined): number | undefined =>
  toMs === undefined ? undefined : Math.max(0, toMs - fromMs);

/** To 0.1 ms, without what is not known. */
function rounded(timings: StreamTimings): StreamTimings {
  return Object.fromEntries(
    Object.entries(timings).flatMap(([key, value]) =>
      value === undefined ? [] : [[key, Math.round(value * 10) / 10]],
    ),
  );
}
