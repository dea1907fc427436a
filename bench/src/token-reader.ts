const CONTENT = '"content":"';
const FINISH = '"finish_reason":"stop"';

/** A stream that lost, doubled or swapped tokens, or did not end as it should. */
export class BrokenStreamError extends Error {
  override name = 'BrokenStreamError';
}

/**
 * Reads the scripted upstream's tokens out of an SSE body. Searches for what it needs instead of
 * parsing JSON: on two cores the load client's own work would be measured with the gateway's.
 */
export class TokenReader {
  tokens = 0;
  #rest = '';
  #finished = false;
  #done = false;
  readonly #onToken: (index: number, sentMs: number) => void;

  /** `onToken` gets each token in order, with the upstream's stamp in milliseconds. */
  constructor(onToken: (index: number, sentMs: number) => void) {
    this.#onToken = onToken;
  }

  /** Takes the next piece of the body, cut anywhere. Throws BrokenStreamError at the first fault. */
  push(bytes: Buffer): void {
    const text = this.#rest + bytes.toString('latin1');
    let start = 0;
    for (;;) {
      const end = text.indexOf('\n', start);
      if (end < 0) break;
      if (end > start) this.#readLine(text, start, end);
      start = end + 1;
    }
    this.#rest = text.slice(start);
  }

  /** Call at the end of the body. Throws unless all tokens, a finish reason and `[DONE]` came. */
  end(expectedTokens: number): void {
    if (this.#rest.trim() !== '') throw new BrokenStreamError(`Half a line at the end`);
    if (this.tokens !== expectedTokens) {
      throw new BrokenStreamError(`${this.tokens} tokens of ${expectedTokens}`);
    }
    if (!this.#finished) throw new BrokenStreamError('No finish_reason');
    if (!this.#done) throw new BrokenStreamError('No [DONE]');
  }

  #readLine(text: string, start: number, end: number): void {
    if (!text.startsWith('data:', start)) {
      // Comments (keepalives) are allowed by the contract; nothing else is.
      const line = text.slice(start, end).trim();
      if (line !== '' && !line.startsWith(':'))
        throw new BrokenStreamError(`Strange line: ${line}`);
      return;
    }
    if (this.#done) throw new BrokenStreamError('Data after [DONE]');
    const contentAt = text.indexOf(CONTENT, start);
    if (contentAt >= 0 && contentAt < end) {
      this.#readToken(text, contentAt + CONTENT.length);
      return;
    }
    const line = text.slice(start, end);
    if (line.includes(FINISH)) this.#finished = true;
    else if (line.trim() === 'data: [DONE]') this.#done = true;
    else throw new BrokenStreamError(`Strange line: ${line}`);
  }

  #readToken(text: string, start: number): void {
    const quote = text.indexOf('"', start);
    // The role frame has an empty content.
    if (quote === start) return;
    const at = text.indexOf('@', start);
    const index = Number(text.slice(start, at));
    if (index !== this.tokens) {
      throw new BrokenStreamError(`Token ${text.slice(start, quote)} in place of ${this.tokens}`);
    }
    this.tokens = index + 1;
    this.#onToken(index, Number(text.slice(at + 1, quote)) / 1e3);
  }
}
