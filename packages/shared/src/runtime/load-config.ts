import { z } from 'zod';

/** Faults of the environment, all of them: `lines` has one sentence each, with the variable's name. */
export class ConfigError extends Error {
  readonly lines: string[];

  constructor(lines: string[]) {
    super(lines.join('\n'));
    this.name = 'ConfigError';
    this.lines = lines;
  }
}

/** Parses environment variables; an empty one counts as unset (compose passes those). */
export function loadConfig<Schema extends z.ZodType>(
  schema: Schema,
  environment: NodeJS.ProcessEnv,
): z.output<Schema> {
  const given = Object.fromEntries(Object.entries(environment).filter(([, value]) => value !== ''));
  const parsed = schema.safeParse(given);
  if (!parsed.success) throw new ConfigError(configFaults(parsed.error));
  return parsed.data;
}

/** One line per fault, without the value: it may be a secret. */
export function configFaults(error: z.ZodError): string[] {
  return error.issues.map(({ path, message }) => `${path.join('.') || 'environment'}: ${message}`);
}

/** A duration in ms; 0 only where `minimum` allows it. */
export const milliseconds = (preset: number, minimum = 1) => wholeNumber(preset, minimum);

export const wholeNumber = (preset: number, minimum = 0) =>
  z
    .string()
    .regex(/^\d+$/, 'must be a whole number')
    .transform(Number)
    .refine(
      (value) => value >= minimum && Number.isSafeInteger(value),
      `must be ${minimum} or more`,
    )
    .default(preset);

export const port = (preset: number) =>
  wholeNumber(preset).refine((value) => value <= 65_535, 'must be a port: 0 to 65535');

export const flag = (preset = false) =>
  z
    .enum(['true', 'false', '1', '0'], 'must be true or false')
    .transform((value) => value === 'true' || value === '1')
    .default(preset);

/** `a, b,c` → `['a', 'b', 'c']`. */
export const commaList = () =>
  z
    .string()
    .transform((value) =>
      value
        .split(',')
        .map((part) => part.trim())
        .filter((part) => part !== ''),
    )
    .default([]);

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
