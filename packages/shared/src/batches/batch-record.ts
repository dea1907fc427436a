import { z } from 'zod';
import { lineErrorSchema } from './line-result.ts';

/** OpenAI's (contract, section 8); the last four are for good. */
export const BATCH_STATUSES = [
  'validating',
  'in_progress',
  'finalizing',
  'cancelling',
  'completed',
  'failed',
  'expired',
  'cancelled',
] as const;
export type BatchStatus = (typeof BATCH_STATUSES)[number];

export const isOver = (status: BatchStatus): boolean =>
  status === 'completed' || status === 'failed' || status === 'expired' || status === 'cancelled';

export const BATCH_ENDPOINTS = [
  '/v1/audio/speech',
  '/v1/audio/transcriptions',
  '/v1/audio/translations',
  '/v1/chat/completions',
] as const;
export type BatchEndpoint = (typeof BATCH_ENDPOINTS)[number];

const count = z.coerce.number();
const seconds = z.coerce.number().optional();
const json = <Schema extends z.ZodType>(schema: Schema) =>
  z
    .string()
    .transform((text) => JSON.parse(text) as unknown)
    .pipe(schema);

const batchUsageSchema = z.object({ inputTokens: z.number(), outputTokens: z.number() });
export type BatchUsage = z.output<typeof batchUsageSchema>;

/** What the lines of a batch are planned for: an engine, as its worker announced it when it was chosen. */
const lineRouteSchema = z.object({
  engine: z.string(),
  model: z.string(),
  voices: z.union([z.array(z.object({ id: z.string() })), z.literal('any')]).optional(),
  maxPhraseCharacters: z.number().optional(),
});
export type LineRoute = z.output<typeof lineRouteSchema>;

/** Where all lines of a batch go, or what each of them is answered with. */
const batchRouteSchema = z.union([lineRouteSchema, z.object({ error: lineErrorSchema })]);
export type BatchRoute = z.output<typeof batchRouteSchema>;

/** A batch as its hash in Redis has it: all values are texts. Times are Unix seconds of Redis' clock. */
export const batchRecordSchema = z.object({
  id: z.string(),
  tenantId: z.string(),
  endpoint: z.enum(BATCH_ENDPOINTS),
  inputFileId: z.string(),
  completionWindow: z.string(),
  metadata: json(z.record(z.string(), z.string())).optional(),
  /** Life of the files that it makes. */
  outputLifeSeconds: count,
  /** Of the request that made it, for the log. */
  requestId: z.string().optional(),
  status: z.enum(BATCH_STATUSES),
  /** The one model of all lines, once they were read. */
  model: z.string().optional(),
  /** Chosen once, before the first line is queued: workers come and go while it runs. */
  route: json(batchRouteSchema).optional(),
  faults: json(
    z.array(
      z.object({
        code: z.string(),
        message: z.string(),
        param: z.string().nullable(),
        line: z.number().nullable(),
      }),
    ),
  ).optional(),
  /** Tokens, of all its lines that tell. */
  usage: json(batchUsageSchema).optional(),
  outputFileId: z.string().optional(),
  errorFileId: z.string().optional(),
  /** Lines. */
  total: count,
  completed: count,
  failed: count,
  /** Set: no line's result is taken any more, because its files are being written. */
  closed: z.string().optional(),
  createdAt: count,
  expiresAt: count,
  inProgressAt: seconds,
  finalizingAt: seconds,
  completedAt: seconds,
  failedAt: seconds,
  expiredAt: seconds,
  cancellingAt: seconds,
  cancelledAt: seconds,
});
export type BatchRecord = z.output<typeof batchRecordSchema>;

/** What a batch is made from. */
export type NewBatch = Pick<
  BatchRecord,
  | 'id'
  | 'tenantId'
  | 'endpoint'
  | 'inputFileId'
  | 'completionWindow'
  | 'metadata'
  | 'outputLifeSeconds'
  | 'requestId'
> & { windowSeconds: number };
