import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { type Job, Worker } from 'bullmq';
import { VoiceError } from '../errors/voice-error.ts';
import { JOB_CATALOG, type JobData, type JobKind } from '../jobs/job-catalog.ts';
import { withLogContext } from '../runtime/log-context.ts';
import { type Logger } from '../runtime/logger.ts';
import { within } from '../runtime/within.ts';
import { type ControlMessage, subscribeControl } from '../streams/control-channel.ts';
import { gatewayKey } from '../streams/stream-key.ts';
import type { Claim, StreamLog } from '../streams/stream-log.ts';
import { StreamClosed, type StreamProducer } from '../streams/stream-producer.ts';
import type { ScriptedRedis } from '../streams/stream-scripts.ts';

/**
 * So long a worker waits at Redis for a job before it looks again itself. When its connections died
 * without a word the next job is taken within 4 s; with BullMQ's 5 s it took 6.7.
 */
const WAIT_SECONDS = 2;
/** How often the gateways of running streams are looked for; a dead one's streams end within 15 s. */
const LEASE_CHECK_MS = 5000;
/** A missing lease is looked for again: after an outage of Redis the gateway needs a moment to renew it. */
const LEASE_CONFIRM_MS = 2000;
/** At the end of the drain: for handlers to heed their signal, and then for what is left to be told. */
const LAST_WORDS_MS = 500;
/** A handler that does not heed its signal is given up after so long; the fence keeps it silent. */
const HEED_MS = 2000;

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

/** Why a job's signal aborted. */
type AbortReason = 'stream-end' | 'lock-lost' | 'gateway-lost' | 'shutdown';

interface ActiveJob {
  streamId: string;
  gatewayId: string;
  jobId: string;
  controller: AbortController;
}

export function createWorkerId(stage: string): string {
  return `${stage}-${randomUUID()}`;
}

/** Runs the jobs of one queue. */
export class JobWorker<Kind extends JobKind> {
  readonly #options: JobWorkerOptions<Kind>;
  readonly #worker: Worker;
  readonly #active = new Set<ActiveJob>();
  readonly #leaseTimer: NodeJS.Timeout;

  constructor(options: JobWorkerOptions<Kind>) {
    this.#options = options;
    const { queueName, queueRedis, concurrency, logger } = options;
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
      this.#end(streamId, new JobAborted('shutdown')),
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
      await this.#end(job.streamId, aborted && !(error instanceof StreamClosed) ? reason : error);
    }
  }

  async #run(job: JobData[Kind], producerName: string, active: ActiveJob): Promise<void> {
    const { log, workerId, handler, logger } = this.#options;
    const { signal } = active.controller;
    const [claim, isLeased] = await Promise.all([
      log.claim(job.streamId, producerName, workerId),
      this.#hasLease(job.gatewayId),
    ]);
    if (claim.status !== 'open') return;
    if (!isLeased) throw new JobAborted('gateway-lost');
    signal.throwIfAborted();
    const producer = log.producer(job.streamId, producerName, claim);
    const handled = handler({ job, claim, producer, signal });
    await Promise.race([handled, ignored(signal)]).catch((error: unknown) => {
      if (error instanceof SignalIgnored) {
        logger.warn('a handler does not heed its signal');
        handled.catch(() => undefined); // its end is written below; what it still does is fenced
      }
      throw error;
    });
  }

  /** Data of an unknown shape: its stream, if it names one, must not hang. */
  async #refuse(queued: Job, error: Error): Promise<void> {
    const { logger, queueName } = this.#options;
    logger.error({ err: error, jobId: queued.id, queueName }, 'job data of an unknown shape');
    const { streamId } = Object(queued.data) as { streamId?: unknown };
    if (typeof streamId === 'string') await this.#end(streamId, new VoiceError('internal_error'));
  }

  async #end(streamId: string, thrown: unknown): Promise<void> {
    const { log, logger } = this.#options;
    if (thrown instanceof StreamClosed) {
      // Redis came back without what this run had written: nobody else will end the stream.
      if (thrown.reason === 'gap')
        await this.#finish(streamId, new VoiceError('stream_interrupted'));
      return;
    }
    if (thrown instanceof JobAborted) {
      if (thrown.reason === 'gateway-lost')
        await log.finish(streamId, new VoiceError('stream_cancelled'));
      if (thrown.reason === 'shutdown')
        await this.#finish(streamId, new VoiceError('server_shutting_down'));
      return; // 'stream-end', 'lock-lost': the end is another's to write
    }
    const error = VoiceError.from(thrown);
    const level = error.definition.status >= 500 ? 'error' : 'info';
    logger[level]({ err: error, streamId }, 'stream ended with an error');
    await this.#finish(streamId, error);
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
        : this.#finish(streamId, new VoiceError('stream_interrupted'));
    ending.catch((failure: unknown) => {
      logger.error({ err: failure, ...told }, 'could not end the stream of a failed job');
    });
  }

  /** A chat that broke off is spoken as far as it was written. */
  async #finish(streamId: string, error: VoiceError): Promise<void> {
    await this.#options.log.finish(streamId, error, {
      afterPhrases: this.#options.kind === 'chat',
    });
  }

  async #checkLeases(): Promise<void> {
    const gatewayIds = [...new Set([...this.#active].map((active) => active.gatewayId))];
    for (const gatewayId of gatewayIds) {
      if (await this.#hasLease(gatewayId)) continue;
      for (const active of this.#active) {
        if (active.gatewayId !== gatewayId) continue;
        await this.#options.log.finish(active.streamId, new VoiceError('stream_cancelled'));
        active.controller.abort(new JobAborted('stream-end'));
      }
    }
  }

  async #hasLease(gatewayId: string): Promise<boolean> {
    const { streamRedis } = this.#options;
    if ((await streamRedis.exists(gatewayKey(gatewayId))) === 1) return true;
    await delay(LEASE_CONFIRM_MS);
    return (await streamRedis.exists(gatewayKey(gatewayId))) === 1;
  }
}

/** Rejects when a handler runs on for a while after its signal. */
async function ignored(signal: AbortSignal): Promise<never> {
  await once(signal, 'abort');
  await delay(HEED_MS, undefined, { ref: false });
  throw new SignalIgnored();
}

class SignalIgnored extends Error {
  constructor() {
    super('the handler does not heed its signal');
    this.name = 'SignalIgnored';
  }
}

/** The reason of a job's signal; engines throw it back. */
class JobAborted extends Error {
  readonly reason: AbortReason;

  constructor(reason: AbortReason) {
    super(`job aborted: ${reason}`);
    this.name = 'JobAborted';
    this.reason = reason;
  }
}
