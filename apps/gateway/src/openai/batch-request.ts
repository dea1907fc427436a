import { BATCH_ENDPOINTS } from '@antiphon/shared/batches/batch-record';
import { FILE_LIFE_SECONDS, MIN_FILE_LIFE_SECONDS } from '@antiphon/shared/files/file-record';
import { z } from '@hono/zod-openapi';

const MAX_METADATA = { pairs: 16, keyLength: 64, valueLength: 512 };
/** A week. OpenAI takes 24 h alone. */
const MAX_WINDOW_HOURS = 168;

const windowSchema = z
  .string()
  .refine(
    (text) => /^[1-9]\d{0,2}h$/.test(text) && Number.parseInt(text, 10) <= MAX_WINDOW_HOURS,
    `Invalid 'completion_window': expected '24h', or another number of hours from '1h' to '${MAX_WINDOW_HOURS}h'.`,
  );

const metadataSchema = z
  .record(z.string(), z.string().max(MAX_METADATA.valueLength))
  .refine(
    (metadata) => Object.keys(metadata).length <= MAX_METADATA.pairs,
    `Invalid 'metadata': too many pairs. Expected at most ${MAX_METADATA.pairs}.`,
  )
  .refine(
    (metadata) => Object.keys(metadata).every((key) => key.length <= MAX_METADATA.keyLength),
    `Invalid 'metadata': a key is too long. Expected at most ${MAX_METADATA.keyLength} characters.`,
  );

/** Contract, section 8. */
export const batchRequestSchema = z.looseObject({
  input_file_id: z.string().describe('A file of purpose `batch`: one request a line.'),
  endpoint: z.enum(BATCH_ENDPOINTS),
  completion_window: windowSchema.describe(
    '`24h`, or `1h` to `168h`: what is not done then is given up.',
  ),
  metadata: metadataSchema.nullish(),
  output_expires_after: z
    .object({
      anchor: z.enum(['created_at']),
      seconds: z.number().int().min(MIN_FILE_LIFE_SECONDS).max(FILE_LIFE_SECONDS),
    })
    .nullish()
    .describe('Life of the files that the batch makes; 30 days unless told.'),
});

/** `72h` → 259200. */
export const windowSeconds = (completionWindow: string): number =>
  Number.parseInt(completionWindow, 10) * 3600;

const MAX_PAGE = 100;

export const batchListQuery = z.object({
  limit: z.coerce.number().int().min(1).max(MAX_PAGE).default(20),
  after: z.string().optional().describe('Id of the last batch of the page before.'),
});
