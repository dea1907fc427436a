import { AUDIO_FORMATS, CONTENT_TYPES } from '@antiphon/shared/audio/audio-format';
import { z } from '@hono/zod-openapi';
import { EVENTS, type GatewayOperation, STREAM_HEADERS } from './gateway-operation.ts';
import { streamObjectSchema } from './stream-object.ts';

const streamId = z.object({ id: z.string().describe('from the header x-stream-id') });
const streamListSchema = z.object({
  object: z.literal('list'),
  data: z.array(streamObjectSchema),
});

/** What a client does with its streams once they are open. */
export const STREAM_OPERATIONS: GatewayOperation[] = [
  {
    method: 'get',
    path: '/v1/streams',
    tag: 'streams',
    summary: 'What your key has open, oldest first',
    answer: streamListSchema,
  },
  {
    method: 'get',
    path: '/v1/streams/{id}',
    tag: 'streams',
    summary: 'How far one of your streams is, and where its time went',
    parameters: streamId,
    answer: streamObjectSchema,
  },
  {
    method: 'get',
    path: '/v1/streams/{id}/events',
    tag: 'streams',
    summary: 'The events of a stream again, from any one on',
    description:
      'Of a stream that was opened with `x-stream-resume: 1`, an `Idempotency-Key` or `"background": true`: as long as it runs and for `LOG_TTL_MS` after that, on any gateway. The events are those of the streamed answer, each with its number as `id`, from 1; a whole chat completion is one event. `Last-Event-ID` goes before `starting_after`.',
    parameters: streamId,
    query: z.object({
      starting_after: z.string().optional().describe('Number of the last event that you have.'),
    }),
    headers: STREAM_HEADERS,
    answers: [EVENTS],
  },
  {
    method: 'get',
    path: '/v1/streams/{id}/audio',
    tag: 'streams',
    summary: 'The sound of a stream again, all of it or a range of bytes',
    description:
      'Of a stream as `/v1/streams/{id}/events` takes it, when it was finished: `Range: bytes=` gives 206 or 416. While it is spoken: all of it as it comes, or a range of what is there. Every byte is that of the first answer.',
    parameters: streamId,
    query: z.object({
      format: z
        .enum(AUDIO_FORMATS.filter((format) => format !== 'aac'))
        .optional()
        .describe('That of the request unless told.'),
    }),
    headers: STREAM_HEADERS,
    answers: Object.entries(CONTENT_TYPES).flatMap(([format, type]) =>
      format === 'aac' ? [] : [type],
    ),
  },
  {
    method: 'post',
    path: '/v1/streams/{id}/cancel',
    tag: 'streams',
    summary: 'Stops a stream; again is the same answer',
    parameters: streamId,
    answer: streamObjectSchema,
  },
  {
    method: 'post',
    path: '/v1/streams/cancel',
    tag: 'streams',
    summary: 'Stops all that your key has open; lists what it stopped',
    answer: streamListSchema,
  },
  {
    method: 'post',
    path: '/api/stop/{id}',
    tag: 'streams',
    summary: 'Stops a stream, for voice assistants',
    parameters: streamId,
    answer: z.object({ status: z.literal('stopped'), stream_id: z.string() }),
  },
  {
    method: 'post',
    path: '/api/stop_all',
    tag: 'streams',
    summary: 'Stops all that your key has open, for voice assistants',
    answer: z.object({
      status: z.literal('stopped'),
      count: z.number().int(),
      stream_ids: z.array(z.string()),
    }),
  },
];
