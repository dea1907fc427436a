import { AUDIO_FORMATS, CONTENT_TYPES } from '@antiphon/shared/audio/audio-format';
import { z } from '@hono/zod-openapi';
import { assistantRequestSchema } from './assistant-request.ts';
import { BATCH_OPERATIONS } from './batch-operations.ts';
import { CHAT_OPERATION } from './chat-operation.ts';
import { FILE_OPERATIONS } from './file-operations.ts';
import {
  backgroundField,
  backgroundFormField,
  EVENTS,
  type GatewayOperation,
  SOUND_HEADERS,
  STREAM_HEADERS,
} from './gateway-operation.ts';
import { jsonTranscriptionSchema } from './json-upload.ts';
import { OPERATOR_OPERATIONS } from './operator-operations.ts';
import { speechRequestSchema } from './speech-request.ts';
import { STREAM_OPERATIONS } from './stream-operations.ts';
import { TIME_GRANULARITIES, TRANSCRIPT_FORMATS } from './transcript-format.ts';

/** Multipart bodies are described by hand: a schema of the library's would read them whole. */
const translationForm = {
  type: 'object',
  required: ['file'],
  properties: {
    file: {
      type: 'string',
      format: 'binary',
      description: 'flac, m4a, mp3, mp4, mpeg, mpga, oga, ogg, wav or webm',
    },
    model: { type: 'string' },
    prompt: { type: 'string' },
    response_format: { type: 'string', enum: [...TRANSCRIPT_FORMATS], default: 'json' },
    temperature: { type: 'number', minimum: 0, maximum: 1 },
    background: backgroundFormField,
  },
};

const transcriptionForm = {
  ...translationForm,
  properties: {
    ...translationForm.properties,
    language: { type: 'string', description: 'ISO 639-1' },
    'timestamp_granularities[]': {
      type: 'array',
      items: { type: 'string', enum: [...TIME_GRANULARITIES] },
    },
    stream: { type: 'boolean', default: false },
  },
};

const TRANSCRIPT_TYPES = ['application/json', 'text/plain', EVENTS];

export const OPERATIONS: GatewayOperation[] = [
  CHAT_OPERATION,
  {
    method: 'post',
    path: '/api/openai',
    tag: 'chat',
    summary: 'Answers a conversation in plain text, and speaks it on the server',
    description:
      'The text comes while it is written, whatever `stream` says, and the speech is played by the server’s `AUDIO_PLAYER`. What is heard here cannot be heard again: `background`, `x-stream-resume` and `Idempotency-Key` are refused.',
    body: assistantRequestSchema,
    examples: { 'a text': { messages: [{ role: 'user', content: 'Hello!' }] } },
    headers: STREAM_HEADERS,
    answers: ['text/plain'],
  },
  {
    method: 'post',
    path: '/v1/audio/speech',
    tag: 'audio',
    summary: `Speaks a text as ${AUDIO_FORMATS.join(', ')}`,
    body: speechRequestSchema.extend({ background: backgroundField }),
    examples: { 'a sentence': { input: 'Hello there.', response_format: 'mp3' } },
    headers: SOUND_HEADERS,
    answers: [...Object.values(CONTENT_TYPES), EVENTS],
  },
  {
    method: 'post',
    path: '/v1/audio/transcriptions',
    tag: 'audio',
    summary: 'Writes down what a recording says',
    form: transcriptionForm,
    body: jsonTranscriptionSchema.extend({ background: backgroundField }),
    headers: STREAM_HEADERS,
    answers: TRANSCRIPT_TYPES,
  },
  {
    method: 'post',
    path: '/v1/audio/translations',
    tag: 'audio',
    summary: 'Writes down in English what a recording says',
    form: translationForm,
    body: jsonTranscriptionSchema.extend({ background: backgroundField }),
    headers: STREAM_HEADERS,
    answers: TRANSCRIPT_TYPES,
  },
  {
    method: 'get',
    path: '/v1/audio/voices',
    tag: 'audio',
    summary: 'Voices that can be asked for',
    query: z.object({ model: z.string().optional() }),
  },
  { method: 'get', path: '/v1/audio/models', tag: 'audio', summary: 'Models that speak' },
  { method: 'get', path: '/v1/models', tag: 'models', summary: 'All models of live workers' },
  {
    method: 'get',
    path: '/v1/models/{id}',
    tag: 'models',
    summary: 'One model',
    parameters: z.object({ id: z.string() }),
  },
  ...FILE_OPERATIONS,
  ...BATCH_OPERATIONS,
  ...STREAM_OPERATIONS,
  ...OPERATOR_OPERATIONS,
  {
    method: 'get',
    path: '/openapi.json',
    tag: 'documentation',
    summary: 'This document',
    open: true,
  },
  {
    method: 'get',
    path: '/docs',
    tag: 'documentation',
    summary: 'This document as a page to try things on',
    answers: ['text/html'],
    open: true,
  },
];

/** Every failure has it: OpenAI's envelope, all four keys always there. */
export const ERROR_SCHEMA = {
  type: 'object' as const,
  required: ['error'],
  properties: {
    error: {
      type: 'object' as const,
      required: ['message', 'type', 'param', 'code'],
      properties: {
        message: { type: 'string' as const },
        type: { type: 'string' as const },
        param: { type: ['string' as const, 'null' as const] },
        code: { type: ['string' as const, 'null' as const] },
      },
    },
  },
};
