import { APIError } from 'openai';
import type { Api } from '../api.ts';
import { CliError } from '../cli-error.ts';
import type { ModelChoice } from '../model-choice.ts';
import { characterLimit } from './character-limit.ts';
import { cutText } from './cut-text.ts';

export interface SpeechOptions {
  voice: string;
  speed?: number;
}

/** What OpenAI takes in one request, and antiphon unless told otherwise. */
const MOST_CHARACTERS = 4096;

/** Speech of texts of any length: one body of sound per request. */
export class SpeechClient {
  readonly #api: Api;
  readonly #model: ModelChoice;
  readonly #options: SpeechOptions;

  constructor(api: Api, model: ModelChoice, options: SpeechOptions) {
    this.#api = api;
    this.#model = model;
    this.#options = options;
  }

  /**
   * Asks for the text in as few pieces as the server takes, `formatFor(pieces)` naming the format,
   * and yields each piece's body when its headers are there. A server whose limit is lower than
   * usual says so at the first piece; then the text is cut once more.
   */
  async *bodies(
    text: string,
    formatFor: (pieces: number) => string,
    signal: AbortSignal,
  ): AsyncGenerator<AsyncIterable<Uint8Array>> {
    let pieces = cutText(text, MOST_CHARACTERS);
    let first: Response;
    try {
      first = await this.#request(pieces[0] ?? text, formatFor(pieces.length), signal);
    } catch (thrown) {
      const limit = limitIn(thrown);
      if (limit === undefined || limit >= MOST_CHARACTERS) throw thrown;
      pieces = cutText(text, limit);
      first = await this.#request(pieces[0] ?? text, formatFor(pieces.length), signal);
    }
    yield bodyOf(first);
    for (const piece of pieces.slice(1)) {
      yield bodyOf(await this.#request(piece, formatFor(pieces.length), signal));
    }
  }

  async #request(input: string, format: string, signal: AbortSignal): Promise<Response> {
    const { voice, speed } = this.#options;
    return this.#model.call((model) => {
      const body = {
        ...{ input, voice, response_format: format },
        ...(model === undefined ? {} : { model }),
        ...(speed === undefined ? {} : { speed }),
      };
      return this.#api.client.post('/audio/speech', { body, signal }).asResponse();
    }, signal);
  }
}

function limitIn(thrown: unknown): number | undefined {
  if (!(thrown instanceof APIError) || ![400, 413, 422].includes(thrown.status ?? 0)) {
    return undefined;
  }
  return characterLimit(thrown.message);
}

/** Throws a CliError for what cannot be sound: pages and messages that came with status 200. */
function bodyOf(response: Response): AsyncIterable<Uint8Array> {
  const type = response.headers.get('content-type') ?? '';
  if (/^(text\/|application\/json)/.test(type) || !response.body) {
    const what = `the server sent ${type === '' ? 'nothing' : type} instead of sound`;
    throw new CliError(what, 'check the base URL, with its /v1');
  }
  return response.body;
}
