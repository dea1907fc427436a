import { z } from '@hono/zod-openapi';
import { audioPartSchema } from './audio-parts.ts';
import { chatRequestSchema } from './chat-request.ts';
import {
  backgroundField,
  EVENTS,
  type GatewayOperation,
  SOUND_HEADERS,
} from './gateway-operation.ts';

const DESCRIPTION = `
Takes OpenAI's body; fields that are not listed pass to the engine untouched.

**An answer that is spoken**: \`modalities: ["text", "audio"]\` and \`audio: {voice, format}\`, whatever
model writes it. Whole, \`message.audio\` has a file in the format. Streamed, \`pcm16\` (24 kHz, mono,
16 bit), \`mp3\` or \`opus\` come in pieces. What is said stands in \`audio.transcript\`, what is shown
and not said (code) in \`content\`.

**A question that is spoken**: parts \`{"type": "input_audio", "input_audio": {"data": …, "format":
"wav"}}\` in messages of the user, \`data\` being the file in base64. They are transcribed first; the
model gets their words, so that any model will do. A recording that was heard in an earlier turn is
not heard again.

**Later turns** name a spoken answer by its id, \`{"role": "assistant", "audio": {"id": …}}\`, until
\`expires_at\`; after that it is a 400, and its text has to be sent as \`content\`.

**Streamed**, the events are one chunk with the role, then of each phrase its transcript and its
sound, then \`audio.expires_at\`, then the finish reason, usage where it was asked for, and
\`[DONE]\`. A phrase that cannot be spoken is told by \`phrase_error\` in a chunk (whole:
\`phrase_errors\`), and the answer goes on. An error in the middle is one event \`{"error": …}\`;
\`[DONE]\` does not come then.
`.trim();

const textPart = z.looseObject({ type: z.literal('text'), text: z.string() });
const recordingPart = audioPartSchema.extend({ type: z.literal('input_audio') });
const otherPart = z
  .looseObject({ type: z.string() })
  .describe('Anything else (`image_url`, `file`) is for the engine.');

const { messages, modalities, audio } = chatRequestSchema.shape;

/** What is checked when the request comes, and by the kinds of parts what is checked later. */
const requestSchema = chatRequestSchema.extend({
  background: backgroundField,
  messages: z
    .array(
      messages.element.extend({
        content: z
          .union([z.string(), z.array(z.union([textPart, recordingPart, otherPart])).min(1)])
          .nullish(),
        audio: z
          .object({ id: z.string() })
          .nullish()
          .describe('Of the assistant: an earlier answer that was spoken, by its id.'),
      }),
    )
    .min(1),
  modalities: modalities.describe('With `audio` in it, the answer is spoken.'),
  audio: audio.describe(
    'How the answer is spoken: `voice` and `format` are required then. With `stream`: pcm16, mp3 or opus. `speed` and `instructions` are those of `/v1/audio/speech`.',
  ),
});

const phraseError = z.object({
  index: z.int().describe('The phrase, counted from 0.'),
  code: z.string(),
  message: z.string(),
});

const toolCall = z.looseObject({ id: z.string(), type: z.string() });

const usage = z.object({
  prompt_tokens: z.int(),
  completion_tokens: z.int(),
  total_tokens: z.int(),
  prompt_tokens_details: z
    .object({
      cached_tokens: z.int().optional(),
      audio_tokens: z.int().optional().describe('Recordings: one per 100 ms.'),
      text_tokens: z.int().optional(),
    })
    .optional(),
  completion_tokens_details: z
    .object({
      reasoning_tokens: z.int().optional(),
      audio_tokens: z.int().optional().describe('What was spoken: one per 50 ms.'),
      text_tokens: z.int().optional(),
    })
    .optional(),
});

const identity = {
  id: z.string(),
  created: z.int().describe('Unix time in seconds.'),
  model: z.string(),
};
const base64 = z.string().describe('Base64.');
const expiresAt = z.int().describe('Unix time in seconds: until then `id` may be named.');
const finishReason = z.string().describe('stop, length, tool_calls or content_filter.');

/** A whole answer. */
export const chatCompletionSchema = z.object({
  ...identity,
  object: z.literal('chat.completion'),
  choices: z.array(
    z.object({
      index: z.int(),
      finish_reason: finishReason,
      logprobs: z.looseObject({}).nullish(),
      message: z.object({
        role: z.literal('assistant'),
        content: z.string().nullable(),
        refusal: z.string().nullish(),
        tool_calls: z.array(toolCall).optional(),
        audio: z
          .object({ id: z.string(), data: base64, expires_at: expiresAt, transcript: z.string() })
          .nullish()
          .describe(
            'The spoken answer: a whole file. Without a sound, where no phrase could be spoken, `data` is empty.',
          ),
      }),
    }),
  ),
  usage: usage.optional(),
  phrase_errors: z.array(phraseError).optional().describe('Phrases that could not be spoken.'),
});

/** One event of a streamed answer. */
export const chatChunkSchema = z.object({
  ...identity,
  object: z.literal('chat.completion.chunk'),
  choices: z
    .array(
      z.object({
        index: z.int(),
        finish_reason: finishReason.nullish(),
        logprobs: z.looseObject({}).nullish(),
        delta: z.object({
          role: z.literal('assistant').optional(),
          content: z.string().nullish(),
          refusal: z.string().nullish(),
          tool_calls: z.array(z.looseObject({ index: z.int() })).optional(),
          audio: z
            .object({
              id: z.string().optional().describe('Once, in the first one.'),
              transcript: z.string().optional().describe('Words, ahead of their sound.'),
              data: base64
                .optional()
                .describe(
                  'A piece of the sound in base64. Joined as texts, the pieces are the whole.',
                ),
              expires_at: expiresAt.optional(),
            })
            .optional(),
        }),
      }),
    )
    .describe('Empty in the chunk with usage.'),
  usage: usage.nullish(),
  phrase_error: phraseError.optional().describe('A phrase that could not be spoken.'),
});

const question = { messages: [{ role: 'user', content: 'What is six times seven?' }] };
const spoken = (format: string) => ({
  modalities: ['text', 'audio'],
  audio: { voice: 'alloy', format },
});

export const CHAT_OPERATION: GatewayOperation = {
  method: 'post',
  path: '/v1/chat/completions',
  tag: 'chat',
  summary: 'Answers a conversation, whole or as server-sent events, in text or aloud',
  description: DESCRIPTION,
  body: requestSchema,
  examples: {
    'a text': question,
    'a text, streamed': { ...question, stream: true },
    'a spoken answer': { ...question, ...spoken('mp3') },
    'a spoken answer, streamed': { ...question, stream: true, ...spoken('pcm16') },
  },
  headers: SOUND_HEADERS,
  answers: ['application/json', EVENTS],
  answer: chatCompletionSchema,
  event: chatChunkSchema,
};
