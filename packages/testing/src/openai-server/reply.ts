import type { ServerResponse } from 'node:http';
import { setImmediate as nextTurn, setTimeout as delay } from 'node:timers/promises';
import type { RecordedRequest } from './recorded-request.ts';
import type { Fault, FullScript } from './script.ts';

/** Thrown to leave an answer that is over: cut by the script, or the client is gone. */
export class ReplyOver extends Error {}

/** One answer: counts what it writes, waits for a slow reader, and fails where the script says so. */
export class Reply {
  readonly script: FullScript;
  readonly request: RecordedRequest;
  readonly #response: ServerResponse;
  readonly #gone = new AbortController();

  constructor(response: ServerResponse, request: RecordedRequest, script: FullScript) {
    this.#response = response;
    this.request = request;
    this.script = script;
    response.once('close', () => {
      request.closedAtMs = performance.now();
      if (!response.writableFinished) request.abortedAtMs ??= request.closedAtMs;
      this.#gone.abort();
    });
    response.on('error', () => undefined);
    if (response.destroyed || response.socket === null) this.#gone.abort();
  }

  /** Sends the status line at once. */
  async head(status: number, headers: Record<string, string>): Promise<void> {
    await this.wait(this.script.headerDelayMs);
    this.request.status = status;
    const own = { 'x-request-id': 'req_scripted', ...headers };
    this.#response.writeHead(status, { ...own, ...this.script.headers });
    this.#response.flushHeaders();
  }

  /** A whole JSON answer. */
  async json(status: number, body: unknown, headers: Record<string, string> = {}): Promise<void> {
    await this.text(status, JSON.stringify(body), {
      'content-type': 'application/json',
      ...headers,
    });
  }

  /** A whole answer of any type. */
  async text(status: number, body: string, headers: Record<string, string>): Promise<void> {
    await this.head(status, headers);
    await this.write(Buffer.from(body));
    this.end();
  }

  /** One token or chunk of audio, after its delay; here faults in mid-answer happen. */
  async token(bytes: Uint8Array): Promise<void> {
    await this.wait(this.script.tokenDelayMs);
    await this.#failIfScripted();
    this.request.tokenTimesMs.push(performance.now());
    await this.write(bytes);
    this.request.tokensWritten += 1;
  }

  /** For faults that are due after the last token as well. */
  async tokensDone(): Promise<void> {
    await this.#failIfScripted();
  }

  /** Bytes outside the count of tokens. Resolves when the socket takes more. */
  async write(bytes: Uint8Array): Promise<void> {
    const step = this.script.pieceBytes ?? Math.max(1, bytes.byteLength);
    for (let at = 0; at < bytes.byteLength; at += step) {
      const piece = bytes.subarray(at, at + step);
      this.#throwIfGone();
      this.request.bytesWritten += piece.byteLength;
      if (!this.#response.write(piece)) await this.#drained();
      if (this.script.pieceBytes !== undefined) await nextTurn();
    }
  }

  end(): void {
    this.#throwIfGone();
    this.#response.end();
  }

  async wait(ms: number): Promise<void> {
    this.#throwIfGone();
    if (ms <= 0) return;
    try {
      await delay(ms, undefined, { signal: this.#gone.signal });
    } catch {
      throw new ReplyOver();
    }
  }

  /** Nothing more until the client leaves. */
  async silence(): Promise<never> {
    if (!this.#gone.signal.aborted) {
      await new Promise((resolve) => {
        this.#gone.signal.addEventListener('abort', resolve, { once: true });
      });
    }
    throw new ReplyOver();
  }

  cut(by: 'rst' | 'fin'): never {
    if (by === 'rst') this.#response.socket?.resetAndDestroy();
    else this.#response.socket?.end();
    throw new ReplyOver();
  }

  async #failIfScripted(): Promise<void> {
    const { fault } = this.script;
    if (fault === undefined || !isInMidAnswer(fault)) return;
    if (this.request.tokensWritten !== (fault.afterTokens ?? 0)) return;
    if (fault.type === 'silence') await this.silence();
    if (fault.type === 'cut') this.cut(fault.by);
    if (fault.type === 'error-frame') {
      const body = JSON.stringify({ error: fault.error ?? DEFAULT_ERROR });
      await this.write(Buffer.from(`data: ${body}\n\n`));
    }
    this.end();
    throw new ReplyOver();
  }

  async #drained(): Promise<void> {
    const { signal } = this.#gone;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        this.#response.off('drain', done);
        signal.removeEventListener('abort', done);
        resolve();
      };
      this.#response.once('drain', done);
      signal.addEventListener('abort', done, { once: true });
      if (signal.aborted) done();
    });
    this.#throwIfGone();
  }

  #throwIfGone(): void {
    if (this.#gone.signal.aborted) throw new ReplyOver();
  }
}

type MidAnswerFault = Extract<Fault, { afterTokens?: number }>;

const MID_ANSWER = new Set<Fault['type']>(['silence', 'cut', 'early-end', 'error-frame']);

function isInMidAnswer(fault: Fault): fault is MidAnswerFault {
  return MID_ANSWER.has(fault.type);
}

const DEFAULT_ERROR = {
  message: 'The model crashed.',
  type: 'server_error',
  param: null,
  code: null,
};
