import type { OutgoingHttpHeaders, ServerResponse } from 'node:http';
import { VoiceError } from '@antiphon/shared/errors/voice-error';

/** A stall is told by slices of this size: a slow client that reads steadily is none. */
const SLICE_BYTES = 65_536;

/** Thrown by writes when the client has left; nobody is there to be told. */
export class ClientLeft extends Error {
  constructor() {
    super('the client left');
    this.name = 'ClientLeft';
  }
}

export interface ConnectionOptions {
  /** A client that takes nothing for so long is cut off. */
  writeStallMs: number;
}

/**
 * The client's end of a streamed answer. Every write is awaited: unawaited ones of one client
 * that does not read grew to 503 MB. Writes go to Node's response itself; a web stream in
 * between costs more than all the rest of a token's way through the gateway.
 */
export class ClientConnection {
  /** Aborts when the client has left before the answer's end. */
  readonly left: AbortSignal;
  /** Bytes of the body so far, and when the last were written (`performance.now()`). */
  bodyBytes = 0;
  wroteAtMs = performance.now();

  readonly #outgoing: ServerResponse;
  /** Aborts when nothing more is to be written, for whichever reason. */
  readonly #halt = new AbortController();
  readonly #writeStallMs: number;
  #destroyed = false;

  constructor(outgoing: ServerResponse, { writeStallMs }: ConnectionOptions) {
    this.#outgoing = outgoing;
    this.#writeStallMs = writeStallMs;
    const left = new AbortController();
    this.left = left.signal;
    outgoing.once('close', () => {
      if (!outgoing.writableFinished && !this.#destroyed) left.abort(new ClientLeft());
    });
    left.signal.addEventListener('abort', () => this.#halt.abort(left.signal.reason));
    if (outgoing.destroyed) left.abort(new ClientLeft());
  }

  get started(): boolean {
    return this.#outgoing.headersSent;
  }

  start(status: number, headers: OutgoingHttpHeaders): void {
    this.#outgoing.writeHead(status, headers);
    this.#outgoing.flushHeaders();
  }

  /**
   * Resolves when the client's socket can take more. Throws ClientLeft, `write_stall_timeout`, or
   * what `stop` was given; `bodyBytes` tells how much was written by then.
   */
  async write(bytes: Uint8Array): Promise<void> {
    for (let start = 0; start < bytes.byteLength; start += SLICE_BYTES) {
      this.#halt.signal.throwIfAborted();
      const slice = bytes.subarray(start, start + SLICE_BYTES);
      this.bodyBytes += slice.byteLength;
      const takesMore = this.#outgoing.write(slice);
      this.wroteAtMs = performance.now();
      if (!takesMore) await this.#drained();
    }
  }

  /** Makes a write that waits for a slow client throw, and every later one: it is not wanted any more. */
  stop(error: VoiceError): void {
    this.#halt.abort(error);
  }

  /** A client that does not take the rest is cut off as well: nobody awaits it any more. */
  end(bytes?: Uint8Array): void {
    if (bytes) this.bodyBytes += bytes.byteLength;
    const outgoing = this.#outgoing;
    outgoing.end(bytes);
    if (outgoing.writableFinished || outgoing.destroyed) return;
    const timer = setTimeout(() => outgoing.destroy(), this.#writeStallMs);
    timer.unref();
    outgoing.once('finish', () => clearTimeout(timer));
    outgoing.once('close', () => clearTimeout(timer));
  }

  /** The one way to say "failed" in the middle of a body that is no SSE: never a clean end. */
  destroy(): void {
    this.#halt.abort(new ClientLeft());
    this.#destroyed = true; // not `left`, which stops the stream: a played one may go on
    this.#outgoing.destroy();
  }

  #drained(): Promise<void> {
    const outgoing = this.#outgoing;
    return new Promise((resolve, reject) => {
      const finish = (settle: () => void) => {
        clearTimeout(timer);
        outgoing.off('drain', drained);
        this.#halt.signal.removeEventListener('abort', halted);
        settle();
      };
      const drained = () => finish(resolve);
      const halted = () => finish(() => reject(this.#halt.signal.reason as Error));
      const stalled = () => finish(() => reject(new VoiceError('write_stall_timeout')));
      const timer = setTimeout(stalled, this.#writeStallMs);
      outgoing.once('drain', drained);
      this.#halt.signal.addEventListener('abort', halted, { once: true });
    });
  }
}
