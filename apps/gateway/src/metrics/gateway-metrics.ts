import { isErrorCode } from '@antiphon/shared/errors/error-catalog';
import type { StreamTimings } from '@antiphon/shared/streams/stream-timings';
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { WatchedStream } from '../replies/watched-stream.ts';
import type { StreamTally } from './stream-tally.ts';

/** Seconds: from an idle machine's milliseconds to the deadlines. */
const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

/** By the names that `Server-Timing` has. */
const STAGES = {
  queueMs: 'queue',
  transcriptMs: 'transcript',
  firstTokenMs: 'first-token',
  firstPhraseMs: 'first-phrase',
  synthesisMs: 'synthesis',
  firstByteMs: 'first-byte',
  firstAudioMs: 'first-audio',
} as const satisfies Partial<Record<keyof StreamTimings, string>>;

/**
 * What the gateway counts. No label comes from a client: routes are patterns, error codes those of
 * the catalog, and tenants and models are no labels at all.
 */
export class GatewayMetrics {
  readonly registry = new Registry();
  readonly #requests = this.#counter(
    'requests',
    'Answered HTTP requests; 499: the client left before',
    ['method', 'route', 'status'],
  );
  readonly #streams = this.#counter('streams', 'Streams that ended here', [
    ...['kind', 'status', 'code'],
  ]);
  readonly #phrases = this.#counter('phrases', 'Phrases that were spoken, or given up', ['result']);
  readonly #madeSeconds = this.#counter('audio_made_seconds', 'Length of the sound that was made');
  readonly #heardSeconds = this.#counter(
    'audio_heard_seconds',
    'Length of the recordings that were transcribed',
  );
  readonly #gaps = this.#counter(
    'playback_gaps',
    'Answers in whose playback a listener had to wait',
  );
  readonly #droppedConnections = this.#counter(
    'connections_dropped',
    'Connections above MAX_CONNECTIONS, closed without an answer',
  );
  readonly #queueWait = this.#histogram(
    'queue_wait_seconds',
    'From the opening of a stream, or the hearing of its recordings, to the claim of its first job',
    'kind',
  );
  readonly #firstAudio = this.#histogram(
    'first_audio_seconds',
    'Where the time to the first audio went; first-audio is the whole',
    'stage',
  );

  constructor() {
    for (const result of ['spoken', 'failed']) this.#phrases.inc({ result }, 0);
  }

  request(method: string, route: string, status: number): void {
    this.#requests.inc({ method, route, status });
  }

  droppedConnection(): void {
    this.#droppedConnections.inc();
  }

  /** Streams that are answered now. */
  gaugeStreams(count: () => number): void {
    const gauge = new Gauge({
      name: 'antiphon_streams_open',
      help: 'Streams that this gateway answers now',
      registers: [],
      collect() {
        this.set(count());
      },
    });
    this.registry.registerMetric(gauge);
  }

  /** When it is not watched any more. Readers of a kept one are not counted beside its keeper. */
  stream(stream: WatchedStream): void {
    if (stream.role === 'follower') return;
    const { kind, tally, claimedAtMs, heardAtMs, openedAtMs } = stream;
    const { status, code } = outcomeOf(tally);
    this.#streams.inc({ kind, status, code });
    this.#phrases.inc({ result: 'spoken' }, tally.phrasesSpoken);
    this.#phrases.inc({ result: 'failed' }, tally.phrasesFailed);
    this.#madeSeconds.inc(tally.audioSeconds);
    this.#heardSeconds.inc(tally.heardSeconds);
    if (claimedAtMs === undefined) return;
    const waitMs = Math.max(0, claimedAtMs - (heardAtMs ?? openedAtMs));
    this.#queueWait.observe({ kind }, waitMs / 1000);
  }

  /** The first audio of an answer went out. */
  firstAudio(timings: StreamTimings): void {
    for (const [key, stage] of Object.entries(STAGES)) {
      const milliseconds = timings[key as keyof StreamTimings];
      if (milliseconds !== undefined) this.#firstAudio.observe({ stage }, milliseconds / 1000);
    }
  }

  /** An answer is out, and its playback had gaps. */
  gaps(): void {
    this.#gaps.inc();
  }

  #counter(name: string, help: string, labelNames: string[] = []): Counter {
    const registers = [this.registry];
    return new Counter({ name: `antiphon_${name}_total`, help, labelNames, registers });
  }

  #histogram(name: string, help: string, label: string): Histogram {
    const registers = [this.registry];
    const labelNames = [label];
    return new Histogram({
      ...{ name: `antiphon_${name}`, help, labelNames, registers },
      buckets: SECONDS,
    });
  }
}

/** A stream whose end was not seen was stopped, since its client left. */
function outcomeOf({ ended, errorCode }: StreamTally): { status: string; code: string } {
  if (errorCode === undefined) return { status: ended ? 'done' : 'cancelled', code: '' };
  if (errorCode === 'stream_cancelled') return { status: 'cancelled', code: '' };
  // One of a newer version's would be a label that nobody bounds.
  return { status: 'error', code: isErrorCode(errorCode) ? errorCode : 'internal_error' };
}
