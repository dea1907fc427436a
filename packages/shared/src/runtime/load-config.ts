import { z } from 'zod';
import { flag, milliseconds, withoutEmpty } from '../services/variables.ts';

/** Faults of the environment, all of them: `lines` has one sentence each, with the variable's name. */
export class ConfigError extends Error {
  readonly lines: string[];

  constructor(lines: string[]) {
    super(lines.join('\n'));
    this.name = 'ConfigError';
    this.lines = lines;
  }
}

/** Parses environment variables; an empty one counts as unset. Throws ConfigError. */
export function loadConfig<Schema extends z.ZodType>(
  schema: Schema,
  environment: NodeJS.ProcessEnv,
): z.output<Schema> {
  const parsed = schema.safeParse(withoutEmpty(environment));
  if (!parsed.success) throw new ConfigError(configFaults(parsed.error));
  return parsed.data;
}

/** One line per fault, without the value: it may be a secret. */
export function configFaults(error: z.ZodError): string[] {
  return error.issues.map(({ path, message }) => `${path.join('.') || 'environment'}: ${message}`);
}

const redisUrl = z
  .string()
  .regex(/^rediss?:\/\//, 'must begin with redis:// or rediss://')
  .refine((value) => URL.canParse(value), 'is not a URL');

/** What every process reads. */
export const commonConfig = {
  REDIS_URL: redisUrl.default('redis://127.0.0.1:6379'),
  STREAM_REDIS_URL: redisUrl.optional(),
  LOG_LEVEL: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']).default('info'),
  DATA_DIR: z.string().default('.data'),
  /** Where blobs and files lie instead of in DATA_DIR; see `readS3Settings`. */
  S3_ENDPOINT: z
    .string()
    .regex(/^https?:\/\//, 'must begin with http:// or https://')
    .refine((value) => URL.canParse(value), 'is not a URL')
    .optional(),
  S3_REGION: z.string().default('us-east-1'),
  S3_BUCKET: z.string().optional(),
  S3_ACCESS_KEY_ID: z.string().optional(),
  S3_SECRET_ACCESS_KEY: z.string().optional(),
  S3_PREFIX: z.string().default(''),
  S3_FORCE_PATH_STYLE: flag(),
  /** For metrics and queues; unset: only this machine may see them. */
  ADMIN_KEY: z
    .string()
    .regex(/^[\x21-\x7e]{16,}$/, 'must be 16 or more printable ASCII characters without blanks')
    .optional(),
  SHUTDOWN_DRAIN_MS: milliseconds(20_000),
};
