import type { Readable } from 'node:stream';
import { VoiceError } from '../errors/voice-error.ts';
import { upstreamBody } from './upstream-fetch.ts';

/** Of 64 KiB at most. Pausing at each one costs a flood more than reading it. */
const MOST_CHUNKS = 4;

export interface BodyReadOptions {
  signal: AbortSignal;
  /** Longest wait for the next bytes; 0 for no limit. The consumer's own time does not count. */
  idleTimeoutMs: number;
  /** Wait for the first bytes without limit: a whole answer comes when it is made. */
  patientStart?: boolean;
}

/**
 * Reads an upstream's answer, as the socket gives it. Silence is `upstream_timeout`, a connection
 * cut off `upstream_protocol`; on abort the socket is closed at once and `signal.reason` thrown.
 * To be closed in the end, whatever happened. A class, since one more async generator on the way
 * of each token costs as much as reading it.
 */
export class BodyReader {
  readonly #body: Readable | undefined;
  readonly #signal: AbortSignal;
  readonly #timer: NodeJS.Timeout | undefined;
  /** Chunks that came before they were asked for; when there are some, the socket is paused. */
  #chunks: Uint8Array[] = [];
  #wake: (() => void) | undefined;
  #ended = false;
  #broken: { thrown: unknown } | undefined;
  #timed: boolean;
  #silent = false;
  #closed = false;
  /** The signal's own `aborted` of a composed signal asks all its sources: 1 µs per read. */
  #aborted = false;

  constructor(response: Response, { signal, idleTimeoutMs, patientStart }: BodyReadOptions) {
    this.#body = upstreamBody(response);
    this.#signal = signal;
    this.#timed = patientStart !== true;
    if (idleTimeoutMs > 0) this.#timer = setTimeout(this.#onSilence, idleTimeoutMs);
    signal.addEventListener('abort', this.#onAbort, { once: true });
    this.#aborted = signal.aborted;
    this.#body?.on('data', this.#onData).on('end', this.#onEnd).on('error', this.#onError);
    this.#body?.on('close', this.#onEnd);
  }

  /** The next bytes; undefined at the end. */
  async read(): Promise<Uint8Array | undefined> {
    this.#timer?.refresh();
    while (this.#chunks.length === 0 && !this.#ended && !this.#aborted && !this.#silent) {
      if (this.#body === undefined) return undefined;
      if (this.#body.isPaused()) this.#body.resume();
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    if (this.#aborted) throw this.#signal.reason;
    if (this.#silent) throw new VoiceError('upstream_timeout');
    this.#timed = true;
    const chunk = this.#chunks.shift();
    if (chunk === undefined && this.#broken) {
      throw new VoiceError('upstream_protocol', { cause: this.#broken.thrown });
    }
    return chunk;
  }

  /** Closes the socket unless the body was read to its end. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#signal.removeEventListener('abort', this.#onAbort);
    this.#leave();
  }

  readonly #onData = (chunk: Uint8Array): void => {
    this.#chunks.push(chunk);
    if (this.#wake !== undefined) this.#notify();
    else if (this.#chunks.length >= MOST_CHUNKS) this.#body?.pause();
  };

  readonly #onEnd = (): void => {
    this.#ended = true;
    if (this.#body?.readableEnded === false) this.#broken ??= { thrown: 'the body was cut off' };
    this.#notify();
  };

  readonly #onError = (thrown: unknown): void => {
    this.#broken = { thrown };
    this.#ended = true;
    this.#notify();
  };

  readonly #onAbort = (): void => {
    this.#aborted = true;
    this.#leave();
  };

  readonly #onSilence = (): void => {
    if (this.#wake === undefined || !this.#timed) return;
    this.#silent = true;
    this.#leave();
  };

  readonly #leave = (): void => {
    if (!this.#ended) this.#body?.destroy();
    this.#notify();
  };

  #notify(): void {
    this.#wake?.();
    this.#wake = undefined;
  }
}

/** The same as a loop. Leaving it early closes the socket. */
export async function* readBody(
  response: Response,
  options: BodyReadOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  const reader = new BodyReader(response, options);
  try {
    for (let bytes = await reader.read(); bytes !== undefined; bytes = await reader.read()) {
      yield bytes;
    }
  } finally {
    reader.close();
  }
}

/** The whole body; more than `maxBytes` is `upstream_protocol`. */
export async function readWholeBody(
  response: Response,
  options: BodyReadOptions & { maxBytes: number },
): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  let byteCount = 0;
  for await (const piece of readBody(response, options)) {
    byteCount += piece.byteLength;
    if (byteCount > options.maxBytes) {
      const message = `The upstream server of this engine sent an answer of more than ${options.maxBytes} bytes.`;
      throw new VoiceError('upstream_protocol', { message });
    }
    pieces.push(piece);
  }
  return Buffer.concat(pieces, byteCount);
}
