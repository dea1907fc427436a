import { VoiceError } from '@antiphon/shared/errors/voice-error';
import { z } from 'zod';
import {
  type ChatMessage,
  type ParsedChatRequest,
  chatRequestSchema,
  parseChatRequest,
} from './chat-request.ts';
import { type JsonBody, parseBody } from './json-body.ts';
import { speechRequestSchema } from './speech-request.ts';

const { voice, speed, instructions } = speechRequestSchema.shape;
const background = z.boolean().nullish();

/** A chat, and what `/v1/audio/speech` calls its voice. */
export const assistantRequestSchema = chatRequestSchema.extend({
  ...{ voice, speed, instructions, background },
});

/** What a voice assistant is asked: a chat whose text is streamed and whose speech is played here. */
export interface AssistantRequest {
  chat: ParsedChatRequest;
  voice: z.output<typeof voice>;
  speed: number;
  instructions: string | undefined;
}

/** The client's way to get the answer, not the model's business. */
const OURS = new Set([
  'voice',
  'speed',
  'instructions',
  'stream',
  'modalities',
  'audio',
  'background',
]);

/**
 * Checks a body like a chat's. `stream`, `modalities` and `audio` are checked and mean nothing here:
 * the answer is always streamed text. Throws the contract's 400s, and `unsupported_value` for more
 * than one answer, `unsupported_parameter` for one in the background: it is heard here and now.
 */
export function parseAssistantRequest(
  body: JsonBody,
  systemPrompt: string | undefined,
): AssistantRequest {
  const request = parseBody(assistantRequestSchema, body.value);
  if ((request.n ?? 1) > 1) {
    throw new VoiceError('unsupported_value', {
      param: 'n',
      message: `Unsupported value: 'n' does not support ${request.n} here: one answer is spoken. Send one request per answer.`,
    });
  }
  if (request.background === true) {
    throw new VoiceError('unsupported_parameter', {
      param: 'background',
      message:
        "Unsupported parameter: 'background' is not supported here: the answer is played now.",
    });
  }
  const kept = Object.entries(body.value).filter(([key]) => !OURS.has(key));
  const value = { ...Object.fromEntries(kept), stream: true };
  const chat = parseChatRequest({ text: JSON.stringify(value), value });
  const { messages, forwardAs } = chat;
  return {
    // Added on the way out: faults of a message are told by its place in what the client sent.
    chat: {
      ...chat,
      forwardAs: (model, replaced = messages) =>
        forwardAs(model, withSystemPrompt(replaced, systemPrompt)),
    },
    voice: request.voice,
    speed: request.speed ?? 1,
    instructions: request.instructions ?? undefined,
  };
}

const SYSTEM_ROLES: unknown[] = ['system', 'developer'];

/**
 * The messages behind the operator's prompt. A system message of the client's own goes behind it in
 * the same message: chat templates of several models refuse a second one.
 */
export function withSystemPrompt(
  messages: ChatMessage[],
  systemPrompt: string | undefined,
): ChatMessage[] {
  if (systemPrompt === undefined) return messages;
  const [first, ...rest] = messages;
  if (!first || !SYSTEM_ROLES.includes(first['role'])) {
    return [{ role: 'system', content: systemPrompt }, ...messages];
  }
  const { content } = first;
  const joined = Array.isArray(content)
    ? [{ type: 'text', text: `${systemPrompt}\n\n` }, ...content]
    : `${systemPrompt}\n\n${String(content)}`;
  return [{ ...first, content: joined }, ...rest];
}
