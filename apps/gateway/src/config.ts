import { commonConfig, loadConfig } from '@antiphon/shared/runtime/load-config';
import {
  commaList,
  flag,
  milliseconds,
  port,
  wholeNumber,
} from '@antiphon/shared/services/variables';
import { JOB_CATALOG } from '@antiphon/shared/jobs/job-catalog';
import { z } from 'zod';
import { webhookConfig } from './webhooks/webhook-config.ts';

const LOOPBACK = /^(?:localhost|127(?:\.\d{1,3}){3}|::1)$/;
const { queueMs, firstEventMs, idleMs, totalMs } = JOB_CATALOG.chat.deadlines;

export const isLoopback = (host: string): boolean => LOOPBACK.test(host);

/** What the rule about keys looks at, parsed. */
const keyRule = z.looseObject({
  HOST: z.string(),
  API_KEYS: z.array(z.string()),
  API_KEYS_FILE: z.string().optional(),
  AUTH_DISABLED: z.boolean(),
});

const schema = z
  .object({
    ...commonConfig,
    PORT: port(8000),
    HOST: z.string().default('127.0.0.1'),
    API_KEYS: commaList().default([]),
    API_KEYS_FILE: z.string().optional(),
    AUTH_DISABLED: flag(),
    PUBLIC_LISTS: flag(),
    CORS_ORIGINS: commaList().default([]),
    /** Of each key that has none of its own; 0: none. */
    RATE_LIMIT_REQUESTS_PER_MINUTE: wholeNumber(0),
    RATE_LIMIT_CHARACTERS_PER_MINUTE: wholeNumber(0),
    RATE_LIMIT_AUDIO_SECONDS_PER_MINUTE: wholeNumber(0),
    MAX_STREAMS_PER_KEY: wholeNumber(0),
    /** Most jobs that may wait in one queue; 0: any number. */
    MAX_QUEUE_DEPTH: wholeNumber(0),
    /** Sockets, idle ones included. */
    MAX_CONNECTIONS: wholeNumber(10_000, 1),
    MAX_UPLOAD_BYTES: wholeNumber(26_214_400, 1),
    /** Of a file of `/v1/files`. */
    MAX_FILE_BYTES: wholeNumber(209_715_200, 1),
    MAX_BATCH_LINES: wholeNumber(50_000, 1),
    /** Of each tenant, not over yet; 0: any number. */
    MAX_OPEN_BATCHES: wholeNumber(20),
    ...webhookConfig,
    /** Of such an upload, between two pieces. */
    UPLOAD_IDLE_TIMEOUT_MS: milliseconds(60_000),
    MAX_INPUT_CHARACTERS: wholeNumber(4096, 1),
    MAX_AUDIO_SECONDS: wholeNumber(7200, 1),
    /** What of a spoken answer also stands in `content`: what is not said (code), all of it, or nothing. */
    AUDIO_CONTENT: z.enum(['code', 'full', 'none']).default('code'),
    ON_PHRASE_ERROR: z.enum(['skip', 'fail']).default('skip'),
    STRIP_MARKDOWN: flag(),
    AUDIO_ID_TTL_MS: milliseconds(3_600_000),
    /** A name of `audioPlayers`. */
    AUDIO_PLAYER: z.string().default('none'),
    SYSTEM_PROMPT: z.string().optional(),
    DEFAULT_CHAT_MODEL: z.string().optional(),
    DEFAULT_SPEECH_MODEL: z.string().optional(),
    DEFAULT_TRANSCRIPTION_MODEL: z.string().optional(),
    MODEL_ALIASES: commaList()
      .refine(
        (pairs) => pairs.every((pair) => /^[^=]+=[^=]+$/.test(pair)),
        'must be alias=model, separated by commas',
      )
      .default([]),
    QUEUE_TIMEOUT_MS: milliseconds(queueMs),
    FIRST_EVENT_TIMEOUT_MS: milliseconds(firstEventMs),
    IDLE_TIMEOUT_MS: milliseconds(idleMs),
    TOTAL_TIMEOUT_MS: milliseconds(totalMs),
    WRITE_STALL_TIMEOUT_MS: milliseconds(30_000),
    STATUS_HOLD_MS: milliseconds(10_000, 0),
    /** 0 sends none: a few clients choke on SSE comments. */
    KEEPALIVE_MS: milliseconds(10_000, 0),
    RESUME_GRACE_MS: milliseconds(15_000),
    LOG_TTL_MS: milliseconds(300_000),
    MAX_LOG_BYTES: wholeNumber(16_777_216, 65_536),
    LOCK_DURATION_MS: milliseconds(10_000),
    STALLED_INTERVAL_MS: milliseconds(5000),
  })
  .refine(
    ({ HOST, API_KEYS, API_KEYS_FILE, AUTH_DISABLED }) =>
      isLoopback(HOST) || API_KEYS.length > 0 || API_KEYS_FILE !== undefined || AUTH_DISABLED,
    {
      path: ['API_KEYS'],
      error: ({ input }) =>
        `needed because HOST is ${(input as { HOST: string }).HOST}: without keys only the loopback may be served (AUTH_DISABLED=true serves everybody)`,
      // Also beside other faults: all of them are told at once.
      when: ({ value }) => keyRule.safeParse(value).success,
    },
  )
  .refine(
    ({ BATCH_WEBHOOK_URL, BATCH_WEBHOOK_SECRET }) =>
      BATCH_WEBHOOK_URL === undefined || BATCH_WEBHOOK_SECRET !== undefined,
    {
      path: ['BATCH_WEBHOOK_SECRET'],
      error: 'needed by BATCH_WEBHOOK_URL: its receiver knows by it who calls',
    },
  );

export type GatewayConfig = z.output<typeof schema>;

/** For the chosen player, which parses its own variables. */
export const environment = process.env;

export const readConfig = (): GatewayConfig => parseConfig(environment);

export const parseConfig = (environment: NodeJS.ProcessEnv): GatewayConfig =>
  loadConfig(schema, environment);
