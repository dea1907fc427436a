import type { Redis } from 'ioredis';
import { Registry } from 'prom-client';
import type { z } from 'zod';
import { BatchStore } from '../batches/batch-store.ts';
import type { LineHandler } from '../batches/line-handler.ts';
import { LineWorker } from '../batches/line-worker.ts';
import { FileIndex } from '../files/file-index.ts';
import { batchQueueName } from '../jobs/batch-line-job.ts';
import { type JobKind, type Stage, queueName } from '../jobs/job-catalog.ts';
import { AdminAccess } from '../runtime/admin-access.ts';
import { type HealthServer, startHealthServer } from '../runtime/health-server.ts';
import { commonConfig } from '../runtime/load-config.ts';
import type { Logger } from '../runtime/logger.ts';
import { collectProcessMetrics, countReconnects } from '../runtime/metrics.ts';
import type { RunningProcess } from '../runtime/run-process.ts';
import { within } from '../runtime/within.ts';
import { milliseconds, port, wholeNumber } from '../services/variables.ts';
import type { BlobStore } from '../storage/blob-store.ts';
import { openBlobStore } from '../storage/open-blob-store.ts';
import { StreamLog } from '../streams/stream-log.ts';
import { type Announced, Announcer } from './announcer.ts';
import { EngineShare } from './engine-share.ts';
import { countJobs } from './job-metrics.ts';
import { JobProducer } from './job-producer.ts';
import { type GiveUp, type JobHandler, JobWorker, createWorkerId } from './job-worker.ts';
import { isAnswering, openConnections } from './redis.ts';

/** What every worker reads besides its engine's variables. */
export const workerConfig = {
  ...commonConfig,
  /** 0: the engine's own number. */
  CONCURRENCY: wholeNumber(0),
  /** 0: no health server. */
  HEALTH_PORT: port(0),
  LOCK_DURATION_MS: milliseconds(10_000),
  STALLED_INTERVAL_MS: milliseconds(5000),
  /** Lines of batches at once; 0: the engine's own number. */
  BATCH_CONCURRENCY: wholeNumber(0),
  /** Of the engine, for lines of batches while nobody waits for it; 0: takes none. */
  BATCH_SHARE_PERCENT: wholeNumber(100).refine((value) => value <= 100, 'must be 0 to 100'),
};
export type WorkerConfig = z.output<z.ZodObject<typeof workerConfig>>;

/** What a handler is built from. */
export interface StageContext {
  log: StreamLog;
  jobs: JobProducer;
  /** The queue's: for what outlives a stream, whose own Redis may be without persistence. */
  redis: Redis;
  batches: BatchStore;
  /** Files of clients, and what lines of batches make. */
  fileBlobs: BlobStore;
  logger: Logger;
  concurrency: number;
  /** The worker's `/metrics`. */
  registry: Registry;
}

export interface StageWorkerOptions<Kind extends JobKind> {
  stage: Stage;
  kind: Kind;
  engineName: string;
  /** Its place among the engines of its stage, from 0; left out: after all that have one. */
  engineRank?: number;
  config: WorkerConfig;
  concurrency: number;
  /** Of lines of batches, within `concurrency`; left out: all of it. */
  batchConcurrency?: number | undefined;
  /** Asked at start, until it answers, and again every minute. */
  announce: (signal: AbortSignal) => Promise<Announced>;
  createHandler: (context: StageContext) => JobHandler<Kind>;
  createGiveUp?: (context: StageContext) => GiveUp<Kind>;
  /** Left out: this worker takes no lines of batches. */
  createLineHandler?: (context: StageContext) => LineHandler<Kind>;
  closeEngine: () => Promise<void>;
  logger: Logger;
}

/** For each thing to be told on the way out; commands wait for a Redis that is away. */
const REDIS_WAIT_MS = 250;

/** Connects a warm engine to its queue: the rest of a worker's main. */
export async function startStageWorker<Kind extends JobKind>(
  options: StageWorkerOptions<Kind>,
): Promise<RunningProcess> {
  const { stage, engineName, config, concurrency, logger } = options;
  const connections = await openConnections(config, 'patient', logger);
  const { queue: queueRedis, stream: streamRedis } = connections;
  const jobs = new JobProducer(queueRedis, (error) => logger.warn({ err: error }, 'redis'));
  const workerId = createWorkerId(stage);
  const registry = new Registry();
  countReconnects(registry, connections);
  const worker = createWorkers(options, connections, {
    ...{ log: new StreamLog(streamRedis), jobs, redis: queueRedis, logger, concurrency, registry },
    batches: new BatchStore(queueRedis),
    fileBlobs: await openBlobStore(config, 'files'),
    workerId,
  });
  const announcer = new Announcer({
    announce: options.announce,
    redis: streamRedis,
    logger,
    identity: {
      version: 1,
      workerId,
      stage,
      engine: engineName,
      ...(options.engineRank === undefined ? {} : { engineRank: options.engineRank }),
      queueName: queueName(stage, engineName),
      concurrency,
      startedAtSeconds: Math.floor(Date.now() / 1000),
    },
  });
  let closing = false;
  const isReady = () =>
    !closing && announcer.announced && isAnswering(queueRedis) && isAnswering(streamRedis);
  const health = await openHealthServer(config, isReady, registry);
  const started = announcer.start(() => worker.start());
  return {
    closeWithinMs: config.SHUTDOWN_DRAIN_MS + 5000,
    async close() {
      closing = true;
      await within(REDIS_WAIT_MS, Promise.all([announcer.drain(), started]));
      await worker.close(config.SHUTDOWN_DRAIN_MS);
      await within(REDIS_WAIT_MS, Promise.all([announcer.leave(), options.closeEngine()]));
      await health?.close();
      await within(REDIS_WAIT_MS, jobs.close());
      for (const redis of Object.values(connections)) redis.disconnect();
    },
  };
}

/** Jobs that people wait for, and with what these leave of the engine, lines of batches. */
function createWorkers<Kind extends JobKind>(
  options: StageWorkerOptions<Kind>,
  { queue: queueRedis, stream: streamRedis, subscriber }: Connections,
  context: StageContext & { workerId: string },
): Pick<JobWorker<Kind>, 'start' | 'close'> {
  const { kind, stage, engineName, config, batchConcurrency, createLineHandler } = options;
  const { log, workerId, concurrency, batches, fileBlobs, registry, logger } = context;
  const { BATCH_SHARE_PERCENT: sharePercent } = config;
  const name = queueName(stage, engineName);
  const share = new EngineShare({ concurrency, batchConcurrency, sharePercent });
  const handler = countJobs(registry, name, options.createHandler(context));
  const common = {
    ...{ kind, queueRedis, subscriber, logger },
    lockDurationMs: config.LOCK_DURATION_MS,
    stalledIntervalMs: config.STALLED_INTERVAL_MS,
  };
  const worker = new JobWorker<Kind>({
    ...{ ...common, queueName: name, workerId, concurrency, log, streamRedis },
    handler: (job) => share.interactive(() => handler(job)),
    giveUp: options.createGiveUp?.(context),
  });
  const lines =
    createLineHandler && sharePercent > 0
      ? new LineWorker<Kind>({
          ...{ ...common, share, batches, fileBlobs, registry },
          queueName: batchQueueName(stage, engineName),
          handler: createLineHandler(context),
          files: new FileIndex(queueRedis),
        })
      : undefined;
  return {
    async start() {
      await worker.start();
      await lines?.start();
    },
    async close(drainMs) {
      await Promise.all([worker.close(drainMs), lines?.close(drainMs)]);
    },
  };
}

type Connections = Awaited<ReturnType<typeof openConnections>>;

async function openHealthServer(
  { HEALTH_PORT, ADMIN_KEY }: WorkerConfig,
  isReady: () => boolean,
  registry: Registry,
): Promise<HealthServer | undefined> {
  // Nothing of the process itself is measured where nobody can ask.
  if (HEALTH_PORT === 0) return undefined;
  collectProcessMetrics(registry);
  const metrics = { registry, access: new AdminAccess(ADMIN_KEY) };
  return startHealthServer(HEALTH_PORT, { isReady, metrics });
}
