import type { OutgoingHttpHeaders } from 'node:http';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { Logger } from '@antiphon/shared/runtime/logger';
import { type ClientConnection, ClientLeft } from './client-connection.ts';
import { EventIds } from './event-ids.ts';

/** Between frames only: a comment, the one thing besides data that both official SDKs bear. */
const KEEPALIVE = Buffer.from(': keepalive\n');
const FRAME_END = 0x0a;

export interface ResponseOptions {
  connection: ClientConnection;
  requestId: string;
  streamId: string;
  logger: Logger;
  /** When the request came in; `performance.now()`. */
  receivedAtMs: number;
  /** The stream is read again: its times are not this request's. */
  again?: boolean;
  /** The answer of an earlier request with the same `Idempotency-Key`. */
  replayed?: boolean;
  /** Events get `id` lines, and those up to this number are left out. */
  afterEvent?: number;
}

const streamHeaders = ({
  requestId,
  streamId,
  replayed,
}: ResponseOptions): OutgoingHttpHeaders => ({
  ...(replayed ? { 'idempotent-replayed': 'true' } : {}),
  'cache-control': 'no-store',
  'x-accel-buffering': 'no',
  'x-content-type-options': 'nosniff',
  'x-request-id': requestId,
  'x-stream-id': streamId,
});

/** Starts a 200 with the headers every stream has. */
export function startResponse(options: ResponseOptions, headers: OutgoingHttpHeaders): void {
  const { 'server-timing': timing, ...rest } = headers;
  options.connection.start(200, {
    ...streamHeaders(options),
    ...rest,
    ...(timing === undefined || options.again ? {} : { 'server-timing': timing }),
  });
}

export interface EventStreamOptions extends ResponseOptions {
  /** Errors before this many ms have an HTTP status of their own. */
  statusHoldMs: number;
  /** 0: none. */
  keepaliveMs: number;
}

/**
 * A `text/event-stream` answer. The status line is held until the first frame or `statusHoldMs`,
 * so that an early error keeps its status; from then on silence is filled with comments.
 */
export class EventStreamResponse {
  readonly #options: EventStreamOptions;
  readonly #holdTimer: NodeJS.Timeout;
  readonly #keepaliveTimer: NodeJS.Timeout | undefined;
  #betweenFrames = true;
  /** Of a frame whose write was broken off. */
  #restOfFrame: Uint8Array | undefined;
  readonly #ids: EventIds | undefined;

  constructor(options: EventStreamOptions) {
    this.#options = options;
    if (options.afterEvent !== undefined) this.#ids = new EventIds(options.afterEvent);
    this.#holdTimer = setTimeout(() => this.start(), options.statusHoldMs);
    if (options.keepaliveMs > 0) {
      const period = Math.max(10, options.keepaliveMs / 4);
      this.#keepaliveTimer = setInterval(() => this.#keepAlive(), period);
    }
  }

  start(headers: OutgoingHttpHeaders = {}): void {
    clearTimeout(this.#holdTimer);
    const { connection } = this.#options;
    if (connection.started || connection.left.aborted) return;
    const type = 'text/event-stream; charset=utf-8';
    startResponse(this.#options, { 'content-type': type, ...headers });
  }

  /** Whole frames, or pieces of one in order. */
  async write(given: Uint8Array): Promise<void> {
    this.start();
    const frames = this.#ids?.mark(given) ?? given;
    if (frames.byteLength === 0) return;
    const wasBetween = this.#betweenFrames;
    this.#betweenFrames = false; // a write may wait in the middle of a frame
    const { connection } = this.#options;
    const before = connection.bodyBytes;
    try {
      await connection.write(frames);
    } catch (error) {
      const sent = connection.bodyBytes - before;
      this.#betweenFrames = wasBetween && sent === 0;
      if (!this.#betweenFrames) this.#restOfFrame = restOfFrame(frames, sent);
      throw error;
    }
    this.#betweenFrames = frames.at(-1) === FRAME_END && frames.at(-2) === FRAME_END;
  }

  end(frames?: string): void {
    this.#stopTimers();
    this.start();
    const bytes = frames === undefined ? undefined : Buffer.from(frames);
    this.#options.connection.end(bytes && (this.#ids?.mark(bytes) ?? bytes));
  }

  /** Before headers: rethrows, for the error its own status. After: one error frame, no `[DONE]`. */
  fail(error: unknown): void {
    this.#stopTimers();
    const { connection, logger, streamId } = this.#options;
    if (error instanceof ClientLeft || connection.left.aborted) return;
    if (!connection.started) throw error;
    const failure = VoiceError.from(error);
    logger.info({ err: error, streamId }, 'stream failed after headers');
    if (failure.code === 'write_stall_timeout') return connection.destroy();
    const frame = `data: ${JSON.stringify(failure.toBody())}\n\n`;
    if (this.#restOfFrame)
      return connection.end(Buffer.concat([this.#restOfFrame, Buffer.from(frame)]));
    connection.end(Buffer.from(this.#betweenFrames ? frame : `\n\n${frame}`));
  }

  #stopTimers(): void {
    clearTimeout(this.#holdTimer);
    clearInterval(this.#keepaliveTimer);
  }

  #keepAlive(): void {
    const { connection, keepaliveMs } = this.#options;
    if (!connection.started || !this.#betweenFrames || connection.left.aborted) return;
    if (performance.now() - connection.wroteAtMs < keepaliveMs) return;
    connection.write(KEEPALIVE).catch(() => undefined); // the next frame's write tells
  }
}

/** What is unsent of the frame that byte `sent` of `frames` lies in; undefined when its end is not there. */
function restOfFrame(frames: Uint8Array, sent: number): Uint8Array | undefined {
  const end = Buffer.from(frames.buffer, frames.byteOffset, frames.byteLength).indexOf(
    '\n\n',
    Math.max(0, sent - 2),
  );
  return end < 0 ? undefined : frames.subarray(sent, Math.max(sent, end + 2));
}
