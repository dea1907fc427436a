import type { BatchRecord } from '@antiphon/shared/batches/batch-record';
import { openRedis } from '@antiphon/shared/queue/redis';
import { RetryQueue, RetryWorker } from '@antiphon/shared/queue/retry-queue';
import type { Logger } from '@antiphon/shared/runtime/logger';
import { within } from '@antiphon/shared/runtime/within';
import type { Redis } from 'ioredis';
import type { GatewayConfig } from '../config.ts';
import { deliverWebhook } from './deliver-webhook.ts';
import { describeEnd, type WebhookEvent, webhookEventSchema } from './webhook-event.ts';

const QUEUE_NAME = 'webhooks';
const ATTEMPTS = 12;
/** Doubled ten times, the last wait is an hour; all of them are two. */
const FIRST_RETRY_MS = 3500;
const TIMEOUT_MS = 10_000;
const CLOSE_MS = 500;
/** A slow receiver keeps only so many waiting. */
const CONCURRENCY = 4;
/** Longer than any gateway announces the same end again. */
const KEEP_DONE_SECONDS = 86_400;

export interface BatchWebhooks {
  /**
   * To be called when a batch is over, as often as that is seen: its end is told once. Throws
   * `queue_unavailable` or `storage_full`: then it is to be called again.
   */
  announceEnd(batch: BatchRecord): Promise<void>;
  close(): Promise<void>;
}

export interface BatchWebhooksOptions {
  /** Where, and by which key; without both nothing is told. */
  config: Pick<
    GatewayConfig,
    | 'BATCH_WEBHOOK_URL'
    | 'BATCH_WEBHOOK_SECRET'
    | 'REDIS_URL'
    | 'LOCK_DURATION_MS'
    | 'STALLED_INTERVAL_MS'
  >;
  /** `command` connection of the queues. */
  redis: Redis;
  /** Opens a `patient` one, for who delivers. Left out: by `REDIS_URL`. */
  openPatient?: () => Redis;
  logger: Pick<Logger, 'info' | 'warn' | 'error'>;
  /** 3.5 s unless told. */
  firstRetryMs?: number;
  /** 10 s unless told. */
  timeoutMs?: number;
}

/** Tells the operator's receiver how batches ended: at least once, for two hours while it is away. */
export function openBatchWebhooks(options: BatchWebhooksOptions): BatchWebhooks {
  const { config } = options;
  const { BATCH_WEBHOOK_URL: url, BATCH_WEBHOOK_SECRET: secret } = config;
  if (url === undefined || secret === undefined) {
    return { announceEnd: async () => undefined, close: async () => undefined };
  }
  const { redis, logger } = options;
  const onError = (error: Error) => logger.warn({ err: error }, 'webhooks');
  const queue = new RetryQueue<WebhookEvent>(redis, {
    ...{ name: QUEUE_NAME, attempts: ATTEMPTS, keepDoneSeconds: KEEP_DONE_SECONDS, onError },
    firstRetryMs: options.firstRetryMs ?? FIRST_RETRY_MS,
  });
  const openPatient = () => openRedis(config.REDIS_URL, { role: 'patient', onError });
  const patient = (options.openPatient ?? openPatient)();
  const target = { url, secret, timeoutMs: options.timeoutMs ?? TIMEOUT_MS };
  const worker = new RetryWorker<WebhookEvent>({
    ...{ name: QUEUE_NAME, redis: patient, schema: webhookEventSchema, concurrency: CONCURRENCY },
    lockDurationMs: config.LOCK_DURATION_MS,
    stalledIntervalMs: config.STALLED_INTERVAL_MS,
    async attempt(event, signal) {
      await deliverWebhook(target, event, signal);
      logger.info({ batchId: event.data.id, event: event.type }, 'webhook delivered');
    },
    onFailure(error, { jobId: batchId, attempts, over }) {
      const told = { batchId, attempts, reason: error.message };
      if (over) logger.error(told, 'webhook given up');
      else logger.warn(told, 'webhook not delivered');
    },
    onError,
  });
  return {
    async announceEnd(batch) {
      const event = describeEnd(batch);
      if (event) await queue.add(batch.id, event);
    },
    async close() {
      // A Redis that is away is not waited for.
      await within(CLOSE_MS, Promise.all([worker.close(), queue.close()]));
      patient.disconnect();
    },
  };
}
