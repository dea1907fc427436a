import { VoiceError } from '@antiphon/shared/errors/voice-error';
import { z } from 'zod';
import { type ChatAudio, chatAudioSchema, parseChatAudio } from './chat-audio.ts';
import { type JsonBody, parseBody } from './json-body.ts';

const MAX_MESSAGES = 2000;

const ROLES = ['developer', 'system', 'user', 'assistant', 'tool', 'function'] as const;

/** Unknown keys of parts pass: vendors add them (`cache_control`, `prompt_cache_breakpoint`). */
const partSchema = z.looseObject({ type: z.string(), text: z.string().nullish() });

const messageSchema = z.looseObject({
  role: z.enum(ROLES),
  content: z.union([z.string(), z.array(partSchema).min(1)]).nullish(),
});

/** What the model itself said may be without content: it called a tool instead. */
const MAY_LACK_CONTENT = new Set<string>(['assistant', 'function']);

const decimal = (minimum: number, maximum: number) =>
  z.number().min(minimum).max(maximum).nullish();

/**
 * What is checked before a job is queued: types and ranges of the contract's fields (section 1.1).
 * Everything else passes to the engine untouched.
 */
export const chatRequestSchema = z.looseObject({
  model: z.string().nullish(),
  messages: z.array(messageSchema).min(1).max(MAX_MESSAGES),
  stream: z.boolean().nullish(),
  stream_options: z
    .looseObject({
      include_usage: z.boolean().nullish(),
      include_obfuscation: z.boolean().nullish(),
    })
    .nullish(),
  n: z.int().min(1).max(128).nullish(),
  modalities: z.array(z.enum(['text', 'audio'])).nullish(),
  audio: chatAudioSchema.nullish(),
  temperature: decimal(0, 2),
  top_p: decimal(0, 1),
  frequency_penalty: decimal(-2, 2),
  presence_penalty: decimal(-2, 2),
  max_tokens: z.int().min(1).nullish(),
  max_completion_tokens: z.int().min(1).nullish(),
  stop: z.union([z.string(), z.array(z.string()).max(4)]).nullish(),
  logprobs: z.boolean().nullish(),
  top_logprobs: z.int().min(0).max(20).nullish(),
  tools: z.array(z.looseObject({ type: z.string() })).nullish(),
  response_format: z.looseObject({ type: z.string() }).nullish(),
});

export interface ParsedChatRequest {
  /** Undefined: the default. */
  model: string | undefined;
  stream: boolean;
  /** Of a streamed answer: whether its last chunk tells usage. */
  includeUsage: boolean;
  choiceCount: number;
  /** The answer is to be spoken. */
  audio: ChatAudio | undefined;
  /** As the client sent them. */
  messages: ChatMessage[];
  /** The body for the engine, with the model under the name it knows, and other messages where they are given. */
  forwardAs: (model: string, messages?: ChatMessage[]) => string;
}

/** One message of a checked body. */
export type ChatMessage = Record<string, unknown>;

/** Throws the contract's 400s. */
export function parseChatRequest(body: JsonBody): ParsedChatRequest {
  const request = parseBody(chatRequestSchema, body.value);
  const stream = request.stream === true;
  if (request.stream_options && !stream) {
    throw new VoiceError('invalid_value', {
      param: 'stream_options',
      message: "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
    });
  }
  if (typeof request.top_logprobs === 'number' && request.logprobs !== true) {
    throw new VoiceError('invalid_value', {
      param: 'top_logprobs',
      message: "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.",
    });
  }
  for (const [index, message] of request.messages.entries()) checkMessage(message, index);
  const { model } = request;
  const audio = request.modalities?.includes('audio') ? parseChatAudio(request, stream) : undefined;
  const messages = body.value['messages'] as ChatMessage[];
  return {
    model: model || undefined,
    stream,
    includeUsage: request.stream_options?.include_usage === true,
    choiceCount: request.n ?? 1,
    audio,
    messages,
    forwardAs: (resolved, replaced = messages) => {
      const same = resolved === model && replaced === messages && !audio;
      if (same) return body.text;
      const value = { ...body.value, model: resolved, messages: replaced };
      return JSON.stringify(audio ? textOnly(value) : value);
    },
  };
}

/** What the model of a spoken answer is asked: text, streamed, whatever the client gets of it. */
function textOnly(body: Record<string, unknown>): Record<string, unknown> {
  const { modalities: _modalities, audio: _audio, ...rest } = body;
  const options = Object(body['stream_options']) as Record<string, unknown>;
  return { ...rest, stream: true, stream_options: { ...options, include_usage: true } };
}

function checkMessage(message: z.output<typeof messageSchema>, index: number): void {
  const param = `messages[${index}]`;
  const { role, content } = message;
  if (typeof content !== 'string' && !content && !MAY_LACK_CONTENT.has(role)) {
    throw content === null
      ? new VoiceError('invalid_type', {
          param: `${param}.content`,
          message: `Invalid type for '${param}.content': expected one of a string or array of objects, but got null instead.`,
        })
      : missing(`${param}.content`);
  }
  if (Array.isArray(content)) {
    for (const [position, part] of content.entries())
      checkPart(part, `${param}.content[${position}]`);
  }
}

function checkPart({ type, text }: z.output<typeof partSchema>, param: string): void {
  if (type === 'text' && typeof text !== 'string') throw missing(`${param}.text`);
}

const missing = (param: string): VoiceError =>
  new VoiceError('missing_required_parameter', {
    param,
    message: `Missing required parameter: '${param}'.`,
  });
