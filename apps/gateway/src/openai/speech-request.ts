import { AUDIO_FORMATS } from '@antiphon/shared/audio/audio-format';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import { z } from 'zod';
import { type JsonBody, parseBody } from './json-body.ts';

const MAX_INSTRUCTIONS = 4096;

/** Contract, section 2. Clients add fields of their own (`backend`, `language`): they pass. */
export const speechRequestSchema = z.looseObject({
  model: z.string().nullish(),
  input: z.string(),
  voice: z.union([z.string(), z.looseObject({ id: z.string().min(1) })]).nullish(),
  instructions: z.string().max(MAX_INSTRUCTIONS).nullish(),
  response_format: z.enum(AUDIO_FORMATS).nullish(),
  speed: z.number().min(0.25).max(4).nullish(),
  stream_format: z.enum(['audio', 'sse']).nullish(),
  language: z.string().nullish(),
});

export type SpeechRequest = z.output<typeof speechRequestSchema>;

/** Throws the contract's 400s; `maxCharacters` is `MAX_INPUT_CHARACTERS`. */
export function parseSpeechRequest(body: JsonBody, maxCharacters: number): SpeechRequest {
  const request = parseBody(speechRequestSchema, body.value);
  if (request.input.trim() === '') {
    throw new VoiceError('invalid_value', {
      param: 'input',
      message: "Invalid 'input': empty. Expected a text with at least one character to speak.",
    });
  }
  if (characterCount(request.input) > maxCharacters) {
    // The sentence is OpenAI's, dump and all: clients look for `string_too_long`.
    throw new VoiceError('string_too_long', {
      param: 'input',
      message: `[{'type': 'string_too_long', 'loc': ('body', 'input'), 'msg': 'String should have at most ${maxCharacters} characters', 'ctx': {'max_length': ${maxCharacters}}}]`,
    });
  }
  return request;
}

/** Code points, as Python counts. */
function characterCount(text: string): number {
  let count = 0;
  for (const _character of text) count += 1;
  return count;
}

/** The voice asked for, or the engine's first. Throws `invalid_value` with the known ones. */
export function chooseVoice(
  { voices }: { voices?: readonly { id: string }[] | 'any' | undefined },
  asked: SpeechRequest['voice'],
  param = 'voice',
): string {
  const id = (typeof asked === 'object' ? asked?.id : asked) || undefined;
  if (voices === 'any' || voices === undefined) return id ?? 'alloy';
  if (id === undefined) return voices[0]?.id ?? 'alloy';
  if (voices.some((voice) => voice.id === id)) return id;
  throw new VoiceError('invalid_value', {
    param,
    message: `Invalid value: '${id.slice(0, 100)}'. Supported values are: ${voices.map((voice) => `'${voice.id}'`).join(', ')}.`,
  });
}
