import { z } from '@hono/zod-openapi';
import { batchObjectSchema } from './batch-object.ts';
import { batchListQuery, batchRequestSchema } from './batch-request.ts';
import { EVENTS, type GatewayOperation } from './gateway-operation.ts';

const batchId = z.object({ id: z.string().describe('`batch_…`') });

export const BATCH_OPERATIONS: GatewayOperation[] = [
  {
    method: 'post',
    path: '/v1/batches',
    tag: 'batches',
    summary: 'Has every line of a file done, when nobody else waits',
    description:
      'Each line is `{"custom_id", "method": "POST", "url", "body"}`: the body is that of the endpoint, without a stream. For `/v1/audio/transcriptions` it names the recording by `file_id`, and what is no JSON (`srt`, `vtt`, `text`) stands in `text` of the answer; for `/v1/audio/speech` the answer names the sound by `file_id`. All lines have the same model and a `custom_id` of their own. What is wrong with the file is told by the batch, which then is `failed`; what is wrong with one line, by its answer. With an `Idempotency-Key` the same request is the same batch for a day.',
    body: batchRequestSchema,
    examples: {
      'texts to speak': {
        input_file_id: 'file-…',
        endpoint: '/v1/audio/speech',
        completion_window: '24h',
      },
    },
    answer: batchObjectSchema,
  },
  {
    method: 'get',
    path: '/v1/batches',
    tag: 'batches',
    summary: 'The batches of your key, the newest first',
    query: batchListQuery,
    answer: z.object({
      object: z.literal('list'),
      data: z.array(batchObjectSchema),
      first_id: z.string().nullable(),
      last_id: z.string().nullable(),
      has_more: z.boolean(),
    }),
  },
  {
    method: 'get',
    path: '/v1/batches/{id}',
    tag: 'batches',
    summary: 'How far one of your batches is',
    parameters: batchId,
    answer: batchObjectSchema,
  },
  {
    method: 'get',
    path: '/v1/batches/{id}/events',
    tag: 'batches',
    summary: 'How far one of your batches is, at once and again with each change',
    description:
      'At most four times a second; the last one says how it ended, and `data: [DONE]` follows. Lines that begin with `:` keep the connection open. A gateway that stops says so as an error: ask again.',
    parameters: batchId,
    answers: [EVENTS],
    event: batchObjectSchema,
  },
  {
    method: 'post',
    path: '/v1/batches/{id}/cancel',
    tag: 'batches',
    summary: 'Stops a batch; what was done is kept, and again is the same answer',
    parameters: batchId,
    answer: batchObjectSchema,
  },
];
