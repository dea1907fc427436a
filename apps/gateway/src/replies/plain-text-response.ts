import { VoiceError } from '@antiphon/shared/errors/voice-error';
import { ClientLeft } from './client-connection.ts';
import { type ResponseOptions, startResponse } from './stream-response.ts';

const HIGH_SURROGATE_AT_END = /[\uD800-\uDBFF]$/;

/**
 * A `text/plain` answer in pieces. The status line is held until the first of them, so that an
 * earlier error keeps its status; a later one cuts the connection, since plain text has no place
 * for it.
 */
export class PlainTextResponse {
  readonly #options: ResponseOptions;
  /** The first half of a character whose second half comes with the next piece. */
  #half = '';
  #over = false;

  constructor(options: ResponseOptions) {
    this.#options = options;
  }

  /** Resolves when the client's socket can take more. */
  async write(text: string): Promise<void> {
    if (this.#over) return;
    const whole = this.#half + text;
    this.#half = HIGH_SURROGATE_AT_END.exec(whole)?.[0] ?? '';
    const bytes = Buffer.from(this.#half === '' ? whole : whole.slice(0, -1));
    if (bytes.length === 0) return;
    this.#start();
    await this.#options.connection.write(bytes);
  }

  /** The text is complete; its client may go. */
  end(): void {
    if (this.#over) return;
    this.#over = true;
    this.#start();
    const { connection } = this.#options;
    connection.end(this.#half === '' ? undefined : Buffer.from(this.#half));
  }

  /** Before headers: rethrows, for the error its own status. In the middle: never a clean end. */
  fail(error: unknown): void {
    const { connection, logger, streamId } = this.#options;
    if (error instanceof ClientLeft || connection.left.aborted) return;
    if (!connection.started) throw error;
    const level = VoiceError.from(error).code === 'stream_cancelled' ? 'debug' : 'info';
    logger[level]({ err: error, streamId }, 'text failed after headers');
    if (this.#over) return;
    this.#over = true;
    connection.destroy();
  }

  #start(): void {
    const { connection } = this.#options;
    if (connection.started || connection.left.aborted) return;
    startResponse(this.#options, { 'content-type': 'text/plain; charset=utf-8' });
  }
}
