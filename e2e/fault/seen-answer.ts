import { request, type IncomingMessage } from 'node:http';
import { text } from 'node:stream/consumers';
import { dataOf, eventsIn } from '@antiphon/testing/events-in';
import type { SeenStream, StreamEnd } from '@antiphon/testing/invariant';

/** One streamed chat answer, as its client saw it. */
export interface SeenAnswer extends SeenStream {
  ends: StreamEnd[];
  contents: string[];
  finishReasons: string[];
  streamId: string;
  retryAfter: string | undefined;
  /** Body of an answer that is no stream. */
  body: string;
  /** Codes of errors, as a frame or as the whole answer. */
  errorCodes: string[];
  phraseErrors: string[];
  /** What was said, as text and as base64 of s16le mono at 24 kHz. */
  transcript: string;
  fragments: string[];
  /** Longest time without a content or sound, from the first one to the end. */
  longestPauseMs: number;
}

export interface AskOptions {
  body?: Record<string, unknown>;
  headers?: Record<string, string>;
  signal?: AbortSignal;
  /** After each content or piece of sound. */
  onOutput?: (answer: SeenAnswer) => void;
}

/** In every question: no log may hold it. */
export const PROMPT_CANARY = 'canary-prompt-4711';

interface Frame {
  choices?: {
    delta: { content?: string | null; audio?: { transcript?: string; data?: string } };
    finish_reason?: string | null;
  }[];
  phrase_error?: { code: string };
  error?: { code: string | null };
}

/**
 * Asks on a connection of its own (a pooled one may be that of a gateway that is gone) and reads to
 * the end, however that comes. Never rejects.
 */
export async function ask(
  url: string,
  { body, headers, signal, onOutput }: AskOptions = {},
): Promise<SeenAnswer> {
  const reader = new AnswerReader(onOutput);
  const startedAtMs = performance.now();
  try {
    const response = await post(url, { body: { ...QUESTION, ...body }, headers, signal });
    await reader.read(response);
  } catch {
    reader.answer.ends.push('broken');
  }
  return reader.finish(performance.now() - startedAtMs);
}

const QUESTION = {
  model: 'scripted',
  stream: true,
  messages: [{ role: 'user', content: PROMPT_CANARY }],
};

/** To be laid over a question: its answer is spoken. */
export const SPOKEN = {
  modalities: ['text', 'audio'],
  audio: { voice: 'alloy', format: 'pcm16' },
};

interface PostOptions {
  body: object;
  headers: Record<string, string> | undefined;
  signal: AbortSignal | undefined;
}

function post(url: string, { body, headers, signal }: PostOptions): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const sent = request(
      url,
      {
        method: 'POST',
        agent: false,
        headers: { 'content-type': 'application/json', ...headers },
        ...(signal ? { signal } : {}),
      },
      resolve,
    );
    sent.on('error', reject);
    sent.end(JSON.stringify(body));
  });
}

class AnswerReader {
  readonly answer: SeenAnswer = {
    ...{ status: 0, durationMs: 0, framesAfterEnd: 0, longestPauseMs: 0 },
    ...{ contents: [], finishReasons: [], ends: [], errorCodes: [], phraseErrors: [] },
    ...{ streamId: '', retryAfter: undefined, body: '', transcript: '', fragments: [] },
  };
  readonly #onOutput: AskOptions['onOutput'];
  #lastOutputAtMs: number | undefined;

  constructor(onOutput: AskOptions['onOutput']) {
    this.#onOutput = onOutput;
  }

  finish(durationMs: number): SeenAnswer {
    this.answer.durationMs = durationMs;
    if (this.#lastOutputAtMs !== undefined) this.#notePause();
    return this.answer;
  }

  async read(response: IncomingMessage): Promise<void> {
    const { answer } = this;
    answer.status = response.statusCode ?? 0;
    answer.streamId = String(response.headers['x-stream-id'] ?? '');
    answer.retryAfter = response.headers['retry-after'];
    const isStream = response.headers['content-type']?.startsWith('text/event-stream') === true;
    if (isStream) for await (const frame of eventsIn(response)) this.#take(frame);
    else this.#takeWhole(await text(response));
    if (answer.ends.length === 0) answer.ends.push('open-end');
  }

  #takeWhole(body: string): void {
    this.answer.body = body;
    const { error } = JSON.parse(body) as Frame;
    if (error) this.#takeError(error);
    else this.answer.ends.push('done');
  }

  #take(frame: string): void {
    const data = dataOf(frame);
    if (data === undefined) return; // a comment
    const { answer } = this;
    if (answer.ends.length > 0) answer.framesAfterEnd += 1;
    if (data === '[DONE]') {
      answer.ends.push('done');
      return;
    }
    const { choices, error, phrase_error: phraseError } = JSON.parse(data) as Frame;
    if (error) this.#takeError(error);
    if (phraseError) answer.phraseErrors.push(phraseError.code);
    const choice = choices?.[0];
    if (choice?.finish_reason) answer.finishReasons.push(choice.finish_reason);
    this.#takeDelta(choice?.delta);
  }

  #takeError({ code }: { code: string | null }): void {
    this.answer.errorCodes.push(String(code));
    this.answer.ends.push(`error:${code}`);
  }

  #takeDelta(delta: NonNullable<Frame['choices']>[number]['delta'] | undefined): void {
    const { answer } = this;
    const { content, audio } = delta ?? {};
    if (content) answer.contents.push(content);
    answer.transcript += audio?.transcript ?? '';
    if (audio?.data !== undefined) answer.fragments.push(audio.data);
    if (!content && audio?.data === undefined) return;
    this.#notePause();
    this.#onOutput?.(answer);
  }

  #notePause(): void {
    const nowMs = performance.now();
    const pauseMs = nowMs - (this.#lastOutputAtMs ?? nowMs);
    this.answer.longestPauseMs = Math.max(this.answer.longestPauseMs, pauseMs);
    this.#lastOutputAtMs = nowMs;
  }
}
