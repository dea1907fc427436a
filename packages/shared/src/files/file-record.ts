import { randomBytes } from 'node:crypto';
import { z } from 'zod';

export const fileRecordSchema = z.object({
  id: z.string(),
  tenantId: z.string(),
  bytes: z.number(),
  /** As the client called it; used for nothing but to be told again. */
  filename: z.string(),
  /** OpenAI's words: `batch`, `batch_output`, `user_data`… */
  purpose: z.string(),
  /** Unix seconds. */
  createdAtSeconds: z.number(),
  expiresAtSeconds: z.number().optional(),
  /** Where its bytes are in the files' store, when that is not its id. */
  blobId: z.string().optional(),
});

/** What is known of a file. */
export type FileRecord = z.output<typeof fileRecordSchema>;

export const blobIdOf = ({ id, blobId }: FileRecord): string => blobId ?? id;

/**
 * Another one at each call, where several runs may write one file: what the first has recorded
 * stays as it is, whatever a later one makes.
 */
export const createBlobId = (fileId: string): string =>
  `${fileId}_${randomBytes(8).toString('hex')}`;
export const fileIdOfBlob = (blobId: string): string => blobId.split('_', 1)[0] ?? '';

export const createFileId = (): string => `file-${randomBytes(16).toString('hex')}`;

/** Kept so long unless the client says otherwise: OpenAI's time for files of batches, and the longest. */
export const FILE_LIFE_SECONDS = 30 * 86_400;
/** The shortest that a client may ask for. */
export const MIN_FILE_LIFE_SECONDS = 3600;
