import { type BatchRecord, isOver } from '@antiphon/shared/batches/batch-record';
import { z } from 'zod';

export const webhookEventSchema = z.object({
  id: z.string(),
  object: z.literal('event'),
  type: z.enum(['batch.completed', 'batch.failed', 'batch.cancelled', 'batch.expired']),
  /** Unix seconds. */
  created_at: z.number(),
  data: z.object({ id: z.string() }),
});

/** OpenAI's shape (contract, section 8). */
export type WebhookEvent = z.output<typeof webhookEventSchema>;

/**
 * How a batch ended; undefined while it has not. The same batch gives the same event, byte for
 * byte: its receiver knows it again.
 */
export function describeEnd(batch: BatchRecord): WebhookEvent | undefined {
  const { id, status } = batch;
  if (!isOver(status)) return undefined;
  return {
    id: `evt_${id.slice('batch_'.length)}`,
    object: 'event',
    type: `batch.${status as 'completed' | 'failed' | 'cancelled' | 'expired'}`,
    created_at: endedAt(batch) ?? batch.createdAt,
    data: { id },
  };
}

function endedAt({ status, completedAt, failedAt, expiredAt, cancelledAt }: BatchRecord) {
  if (status === 'completed') return completedAt;
  if (status === 'failed') return failedAt;
  return status === 'expired' ? expiredAt : cancelledAt;
}
