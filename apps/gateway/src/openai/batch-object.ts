import {
  BATCH_ENDPOINTS,
  BATCH_STATUSES,
  type BatchRecord,
} from '@antiphon/shared/batches/batch-record';
import { z } from '@hono/zod-openapi';

/** Unix time in seconds; null while it has not happened. */
const time = z.number().int().nullable();

const faultSchema = z.object({
  code: z.string(),
  message: z.string(),
  param: z.string().nullable(),
  line: z.number().int().nullable().describe('From 1; null: the file as a whole.'),
});

/** What the API says of a batch (contract, section 8). */
export const batchObjectSchema = z.object({
  id: z.string(),
  object: z.literal('batch'),
  endpoint: z.enum(BATCH_ENDPOINTS),
  model: z.string().optional().describe('Of all its lines, once they were read.'),
  errors: z.object({ object: z.literal('list'), data: z.array(faultSchema) }).nullable(),
  input_file_id: z.string(),
  completion_window: z.string(),
  status: z.enum(BATCH_STATUSES),
  output_file_id: z.string().nullable().describe('Null also when no line was answered.'),
  error_file_id: z.string().nullable().describe('Null also when every line was answered.'),
  created_at: z.number().int(),
  in_progress_at: time,
  expires_at: z.number().int(),
  finalizing_at: time,
  completed_at: time,
  failed_at: time,
  expired_at: time,
  cancelling_at: time,
  cancelled_at: time,
  request_counts: z.object({
    total: z.number().int(),
    completed: z.number().int(),
    failed: z.number().int(),
  }),
  usage: z
    .object({
      input_tokens: z.number().int(),
      input_tokens_details: z.object({ cached_tokens: z.number().int() }),
      output_tokens: z.number().int(),
      output_tokens_details: z.object({ reasoning_tokens: z.number().int() }),
      total_tokens: z.number().int(),
    })
    .optional()
    .describe('Of chats, when they are over.'),
  metadata: z.record(z.string(), z.string()).nullable(),
});

export type BatchObject = z.output<typeof batchObjectSchema>;

/** A batch as the API tells it: times in Unix seconds, null while they have not come; lines counted. */
export function describeBatch(batch: BatchRecord): BatchObject {
  const { model, faults, usage } = batch;
  return {
    ...{ id: batch.id, object: 'batch', endpoint: batch.endpoint },
    ...(model ? { model } : {}),
    errors: faults ? { object: 'list', data: faults } : null,
    input_file_id: batch.inputFileId,
    completion_window: batch.completionWindow,
    status: batch.status,
    output_file_id: batch.outputFileId ?? null,
    error_file_id: batch.errorFileId ?? null,
    ...describeTimes(batch),
    request_counts: { total: batch.total, completed: batch.completed, failed: batch.failed },
    ...(usage ? { usage: describeUsage(usage) } : {}),
    metadata: batch.metadata ?? null,
  };
}

const describeTimes = (batch: BatchRecord) => ({
  created_at: batch.createdAt,
  in_progress_at: batch.inProgressAt ?? null,
  expires_at: batch.expiresAt,
  finalizing_at: batch.finalizingAt ?? null,
  completed_at: batch.completedAt ?? null,
  failed_at: batch.failedAt ?? null,
  expired_at: batch.expiredAt ?? null,
  cancelling_at: batch.cancellingAt ?? null,
  cancelled_at: batch.cancelledAt ?? null,
});

const describeUsage = ({ inputTokens, outputTokens }: NonNullable<BatchRecord['usage']>) => ({
  input_tokens: inputTokens,
  input_tokens_details: { cached_tokens: 0 },
  output_tokens: outputTokens,
  output_tokens_details: { reasoning_tokens: 0 },
  total_tokens: inputTokens + outputTokens,
});
