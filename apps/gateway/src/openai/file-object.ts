import type { FileRecord } from '@antiphon/shared/files/file-record';
import { z } from '@hono/zod-openapi';

/** What a client may upload a file for; `batch_output` is what batches make (contract, section 7). */
export const UPLOAD_PURPOSES = [
  'assistants',
  'batch',
  'fine-tune',
  'vision',
  'user_data',
  'evals',
] as const;

/** What the API says of a file. */
export const fileObjectSchema = z.object({
  id: z.string(),
  object: z.literal('file'),
  bytes: z.number().int(),
  /** Unix time in seconds, both. */
  created_at: z.number().int(),
  expires_at: z.number().int().optional(),
  filename: z.string(),
  purpose: z.string(),
  status: z.literal('processed'),
  status_details: z.null(),
});

export type FileObject = z.output<typeof fileObjectSchema>;

/** A file as the API tells it: times in Unix seconds, no `expires_at` for one that stays. */
export function describeFile(file: FileRecord): FileObject {
  const { id, bytes, filename, purpose, createdAtSeconds, expiresAtSeconds } = file;
  return {
    ...{ id, object: 'file', bytes, created_at: createdAtSeconds },
    ...(expiresAtSeconds === undefined ? {} : { expires_at: expiresAtSeconds }),
    ...{ filename, purpose, status: 'processed', status_details: null },
  };
}
