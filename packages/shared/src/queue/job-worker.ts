import { randomUUID } from 'node:crypto';
import { type Job, Worker } from 'bullmq';
import { VoiceError } from '../errors/voice-error.ts';
import { JOB_CATALOG, type JobData, type JobKind } from '../jobs/job-catalog.ts';
import { withLogContext } from '../runtime/log-context.ts';
import { type Logger } from '../runtime/logger.ts';
import { within } from '../runtime/within.ts';
import { type ControlMessage, subscribeControl } from '../streams/control-channel.ts';
import type { Claim, StreamLog } from '../streams/stream-log.ts';
import { StreamClosed, type StreamProducer } from '../streams/stream-producer.ts';
import type { ScriptedRedis } from '../streams/stream-scripts.ts';
import { GatewayLeases, LEASE_CHECK_MS } from './gateway-leases.ts';
import { JobEnds } from './job-ends.ts';
import { type AbortReason, type ActiveJob, JobAborted, runJob } from './job-run.ts';

/**
 * So long a worker waits at Redis for a job before it looks again itself. When its connections died
 * without a word the next job is taken within 4 s; with BullMQ's 5 s it took 6.7.
 */
const WAIT_SECONDS = 2;
/** At the end of the drain: for handlers to heed their signal, and then for what is left to be told. */
const LAST_WORDS_MS = 500;

export interface JobContext<Kind extends JobKind> {
  job: JobData[Kind];
  /** What an earlier run of this job had already written. */
  claim: Claim;
  producer: StreamProducer;
  /** Aborts when the stream ended, the lock was lost, its gateway died or the process must stop. */
  signal: AbortSignal;
}

/**
 * Does one job. Its last append ends the stream or phrase. A VoiceError that it throws ends the
 * stream with that error.
 */
export type JobHandler<Kind extends JobKind> = (context: JobContext<Kind>) => Promise<void>;

/** Ends what a job leaves open that its workers died of. Where there is none: its stream ends. */
export type GiveUp<Kind extends JobKind> = (job: JobData[Kind], workerId: string) => Promise<void>;

export interface JobWorkerOptions<Kind extends JobKind> {
  kind: Kind;
  queueName: string;
  workerId: string;
  concurrency: number;
  lockDurationMs: number;
  stalledIntervalMs: number;
  handler: JobHandler<Kind>;
  giveUp?: GiveUp<Kind> | undefined;
  log: StreamLog;
  /** `patient` connections for BullMQ and for streams, and a `subscriber` one for streams. */
  queueRedis: ScriptedRedis;
  streamRedis: ScriptedRedis;
  subscriber: ScriptedRedis;
  logger: Logger;
}

export function createWorkerId(stage: string): string {
  return `${stage}-${randomUUID()}`;
}

/** Runs the jobs of one queue. */
export class JobWorker<Kind extends JobKind> {
  readonly #options: JobWorkerOptions<Kind>;
  readonly #worker: Worker;
  readonly #active = new Set<ActiveJob>();
  readonly #ends: JobEnds;
  readonly #leases: GatewayLeases;
  readonly #leaseTimer: NodeJS.Timeout;

  constructor(options: JobWorkerOptions<Kind>) {
    this.#options = options;
    const { queueName, queueRedis, concurrency, logger } = options;
    this.#ends = new JobEnds(options);
    this.#leases = new GatewayLeases(options.streamRedis);
    this.#worker = new Worker(
      queueName,
      // BullMQ gives a signal only to a function that declares three parameters.
      async (job, _token, signal) => this.#process(job, signal),
      {
        connection: queueRedis,
        concurrency,
        autorun: false,
        lockDuration: options.lockDurationMs,
        stalledInterval: options.stalledIntervalMs,
        maxStalledCount: 1,
        drainDelay: WAIT_SECONDS,
        skipVersionCheck: true,
      },
    );
    this.#worker.on('error', (error) => logger.warn({ err: error }, 'queue connection'));
    // A lost lock aborts nothing by itself, and another worker may have the job already.
    this.#worker.on('lockRenewalFailed', (jobIds) =>
      this.#abortWhere('lock-lost', (active) => jobIds.includes(active.jobId)),
    );
    this.#worker.on('failed', (job, error) => this.#endFailed(job, error));
    this.#leaseTimer = setInterval(() => {
      this.#checkLeases().catch((error: unknown) => logger.warn({ err: error }, 'lease check'));
    }, LEASE_CHECK_MS);
    this.#leaseTimer.unref();
  }

  /** Begins to take jobs; resolves when the control channel is heard. */
  async start(): Promise<void> {
    await subscribeControl(this.#options.subscriber, (message) => this.#hear(message));
    this.#worker.run().catch((error: unknown) => {
      this.#options.logger.error({ err: error }, 'queue worker ended');
    });
  }

  get activeCount(): number {
    return this.#active.size;
  }

  /**
   * Takes no more jobs; waits `drainMs` for running ones, then ends their streams with an error.
   * Within a second from then on it is over, also while Redis is away.
   */
  async close(drainMs: number): Promise<void> {
    clearInterval(this.#leaseTimer);
    const closed = this.#worker.close();
    if (await within(drainMs, closed)) return;
    this.#abortWhere('shutdown', () => true);
    if (await within(LAST_WORDS_MS, closed)) return;
    const ends = [...this.#active].map(({ streamId }) =>
      this.#ends.end(streamId, new JobAborted('shutdown')),
    );
    await within(LAST_WORDS_MS, Promise.all([closed, ...ends]));
  }

  #hear(message: ControlMessage): void {
    if (message.type !== 'stream-end') return;
    this.#abortWhere('stream-end', ({ streamId }) => streamId === message.streamId);
  }

  #abortWhere(reason: AbortReason, matches: (active: ActiveJob) => boolean): void {
    for (const active of this.#active) {
      if (matches(active)) active.controller.abort(new JobAborted(reason));
    }
  }

  async #process(queued: Job, signal: AbortSignal | undefined): Promise<void> {
    const { kind } = this.#options;
    const { schema, producer: nameProducer } = JOB_CATALOG[kind];
    // Parsed again: another process, maybe of another version, wrote it.
    const parsed = schema.safeParse(queued.data);
    if (!parsed.success) return this.#refuse(queued, parsed.error);
    const job = parsed.data as JobData[Kind];
    const producerName = (nameProducer as (job: JobData[Kind]) => string)(job);

    const active: ActiveJob = {
      streamId: job.streamId,
      gatewayId: job.gatewayId,
      jobId: queued.id ?? '',
      controller: new AbortController(),
    };
    // This process may have lost the lock of a run that it still has.
    this.#abortWhere('lock-lost', ({ jobId }) => jobId === active.jobId);
    // Before the claim, so that an end that is told meanwhile is heard.
    this.#active.add(active);
    const abort = () => active.controller.abort(new JobAborted('lock-lost'));
    signal?.addEventListener('abort', abort, { once: true });
    if (signal?.aborted) abort();
    const { requestId, tenantId, streamId } = job;
    await withLogContext({ requestId, tenantId, streamId, jobId: active.jobId }, async () => {
      await this.#runToEnd(job, producerName, active);
    }).finally(() => {
      signal?.removeEventListener('abort', abort);
      this.#active.delete(active);
    });
  }

  async #runToEnd(job: JobData[Kind], producerName: string, active: ActiveJob): Promise<void> {
    try {
      await this.#run(job, producerName, active);
    } catch (error) {
      // Engines wrap the reason that they are given, or throw something of their own.
      const { aborted, reason } = active.controller.signal;
      await this.#ends.end(
        job.streamId,
        aborted && !(error instanceof StreamClosed) ? reason : error,
      );
    }
  }

  async #run(job: JobData[Kind], producerName: string, active: ActiveJob): Promise<void> {
    const { log, workerId, handler, logger } = this.#options;
    const { signal } = active.controller;
    await runJob({
      ...{ signal, logger },
      claim: () => log.claim(job.streamId, producerName, workerId),
      isLeased: () => this.#leases.isLive(job.gatewayId),
      handle: (claim) => {
        const producer = log.producer(job.streamId, producerName, claim);
        return handler({ job, claim, producer, signal });
      },
    });
  }

  /** Data of an unknown shape: its stream, if it names one, must not hang. */
  async #refuse(queued: Job, error: Error): Promise<void> {
    const { logger, queueName } = this.#options;
    logger.error({ err: error, jobId: queued.id, queueName }, 'job data of an unknown shape');
    const { streamId } = Object(queued.data) as { streamId?: unknown };
    if (typeof streamId === 'string')
      await this.#ends.end(streamId, new VoiceError('internal_error'));
  }

  /** The job crashed its workers, or its data could not be moved: BullMQ gave it up. */
  #endFailed(queued: Job | undefined, error: Error): void {
    const { logger, kind, giveUp, workerId } = this.#options;
    const { streamId, tenantId, requestId } = Object(queued?.data) as Record<string, unknown>;
    const told = { streamId, tenantId, requestId, jobId: queued?.id };
    logger.error({ err: error, ...told }, 'job failed');
    const parsed = JOB_CATALOG[kind].schema.safeParse(queued?.data);
    // What failed is kept for a while to be looked at; what somebody said is not.
    queued?.updateData({ streamId, tenantId, requestId }).catch((failure: unknown) => {
      logger.warn({ err: failure, ...told }, 'data of a failed job');
    });
    if (typeof streamId !== 'string') return;
    const ending =
      giveUp && parsed.success
        ? giveUp(parsed.data as JobData[Kind], workerId)
        : this.#ends.finish(streamId, new VoiceError('stream_interrupted'));
    ending.catch((failure: unknown) => {
      logger.error({ err: failure, ...told }, 'could not end the stream of a failed job');
    });
  }

  async #checkLeases(): Promise<void> {
    const gatewayIds = [...this.#active].map(({ gatewayId }) => gatewayId);
    const dead = new Set(await this.#leases.findDead(gatewayIds));
    const lost = [...this.#active].filter(({ gatewayId }) => dead.has(gatewayId));
    await Promise.all(
      lost.map(async ({ streamId, controller }) => {
        await this.#ends.finishLost(streamId);
        controller.abort(new JobAborted('stream-end'));
      }),
    );
  }
}
