import { APIError } from 'openai';
import type { Api } from './api.ts';
import { CliError } from './cli-error.ts';

/** OpenAI's names, which antiphon and most others know too. */
export const USUAL_CHAT_MODELS = ['gpt-4o-mini', 'gpt-4o'];
export const USUAL_SPEECH_MODELS = ['tts-1', 'gpt-4o-mini-tts', 'kokoro'];
export const USUAL_TRANSCRIPTION_MODELS = [
  'whisper-1',
  'gpt-4o-transcribe',
  'gpt-4o-mini-transcribe',
];

const MOST_SHOWN = 12;

/** Which model to ask for, found out at most once. */
export interface ModelChoice {
  /** Calls with the model; without one first, since a server may have a default of its own. */
  call<T>(request: (model: string | undefined) => Promise<T>, signal: AbortSignal): Promise<T>;
}

/**
 * `wanted` as it is. Left out, the server's default is used where it has one; else the first of
 * `usual` that it lists, or its only model. Throws a CliError with the list when that decides nothing.
 */
export function createModelChoice(
  api: Api,
  wanted: string | undefined,
  usual: readonly string[],
): ModelChoice {
  let model = wanted;
  return {
    async call(request, signal) {
      try {
        return await request(model);
      } catch (thrown) {
        if (model !== undefined || !asksForModel(thrown)) throw thrown;
        const listed = await api.listModels(signal);
        model = usual.find((id) => listed.includes(id));
        if (listed.length === 1) model = listed[0];
        if (model === undefined) throw undecided(listed);
        return request(model);
      }
    },
  };
}

function asksForModel(thrown: unknown): boolean {
  if (!(thrown instanceof APIError) || ![400, 404, 422].includes(thrown.status ?? 0)) return false;
  return (
    thrown.param === 'model' ||
    /model\b[^]*(required|missing)|(missing|provide)[^]*\bmodel/i.test(thrown.message)
  );
}

function undecided(listed: string[]): CliError {
  const shown = listed.slice(0, MOST_SHOWN).join(', ');
  const more = listed.length > MOST_SHOWN ? ' …' : '';
  const known = listed.length === 0 ? 'the server lists none' : `known are ${shown}${more}`;
  return new CliError('the server has no default model', `name one by --model (${known})`);
}
