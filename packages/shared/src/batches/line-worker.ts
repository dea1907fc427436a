import { DelayedError, type Job, WaitingError, Worker } from 'bullmq';
import type { Redis } from 'ioredis';
import { Counter, type Registry } from 'prom-client';
import { VoiceError } from '../errors/voice-error.ts';
import type { FileIndex } from '../files/file-index.ts';
import { type BatchLineJob, batchLineJobSchema } from '../jobs/batch-line-job.ts';
import { withLogContext } from '../runtime/log-context.ts';
import type { Logger } from '../runtime/logger.ts';
import { within } from '../runtime/within.ts';
import type { BlobStore } from '../storage/blob-store.ts';
import { subscribeControl } from '../streams/control-channel.ts';
import type { BatchStore } from './batch-store.ts';
import { busyDelayMs, isBusy, isWorthTrying } from './line-fault.ts';
import type { LineContext, LineWork } from './line-handler.ts';
import { LineRecorder } from './line-recorder.ts';
import { LineAborted, LineRun, type LineRunOptions } from './line-run.ts';

/** More than have a turn: while one's result is written, and the next one fetched, the engine works. */
const LINES_AHEAD = 2;
/** A line that is under way when its worker dies runs again elsewhere, so often. */
const MAX_STALLS = 10;
/** At the end of the drain: for handlers to heed their signal, and lines to be put back. */
const LAST_WORDS_MS = 1000;

const RESULTS = ['done', 'failed', 'again', 'delayed', 'returned', 'dropped'] as const;
type RunResult = (typeof RESULTS)[number];

export interface LineWorkerOptions<Kind extends LineWork> extends LineRunOptions<Kind> {
  kind: Kind;
  queueName: string;
  lockDurationMs: number;
  stalledIntervalMs: number;
  batches: BatchStore;
  files: FileIndex;
  fileBlobs: BlobStore;
  /** A `patient` connection, and a `subscriber` one for streams, whose control channel tells of ends. */
  queueRedis: Redis;
  subscriber: Redis;
  registry: Registry;
  logger: Logger;
}

/** A job as BullMQ gives it, and by what it is held. */
interface HeldJob {
  queued: Job;
  token: string | undefined;
}

/** Runs lines of batches beside a worker's other jobs, with what those leave of the engine. */
export class LineWorker<Kind extends LineWork> {
  readonly #options: LineWorkerOptions<Kind>;
  readonly #worker: Worker;
  readonly #recorder: LineRecorder;
  readonly #lines: Counter;
  readonly #runs = new Set<LineRun>();

  constructor(options: LineWorkerOptions<Kind>) {
    this.#options = options;
    const { queueName, queueRedis, share, registry, logger } = options;
    this.#recorder = new LineRecorder(options);
    this.#lines = new Counter({
      name: 'antiphon_batch_lines_total',
      help: 'Runs of lines of batches; again, delayed, returned: the line will run once more',
      labelNames: ['queue', 'result'],
      registers: [registry],
    });
    for (const result of RESULTS) this.#lines.inc({ queue: queueName, result }, 0);
    this.#worker = new Worker(
      queueName,
      // BullMQ gives a signal only to a function that declares three parameters.
      async (queued, token, signal) => this.#process({ queued, token }, signal),
      {
        connection: queueRedis,
        concurrency: share.batchLimit + LINES_AHEAD,
        autorun: false,
        lockDuration: options.lockDurationMs,
        stalledInterval: options.stalledIntervalMs,
        // Counted here: what BullMQ gives up has no result, if this process dies before it has one.
        maxStalledCount: Number.MAX_SAFE_INTEGER,
        ...{ removeOnComplete: { count: 0 }, removeOnFail: { count: 0 } },
        skipVersionCheck: true,
      },
    );
    this.#worker.on('error', (error) => logger.warn({ err: error }, 'batch queue connection'));
    // A lost lock aborts nothing by itself, and another worker may have the line already.
    this.#worker.on('lockRenewalFailed', (jobIds) => {
      for (const run of this.#runs) if (jobIds.includes(run.jobId)) run.abort('lock-lost');
    });
  }

  /** Begins to take lines; resolves when the control channel is heard. */
  async start(): Promise<void> {
    await subscribeControl(this.#options.subscriber, (message) => {
      if (message.type !== 'batch-end') return;
      for (const run of this.#runs) if (run.batchId === message.batchId) run.abort('batch-end');
    });
    this.#worker.run().catch((error: unknown) => {
      this.#options.logger.error({ err: error }, 'batch queue worker ended');
    });
  }

  get activeCount(): number {
    return this.#runs.size;
  }

  /**
   * Takes no more lines; waits `drainMs` for those that have begun. The others go back into the
   * queue, where another worker finds them at once.
   */
  async close(drainMs: number): Promise<void> {
    const closed = this.#worker.close();
    for (const run of this.#runs) if (!run.begun) run.abort('shutdown');
    if (await within(drainMs, closed)) return;
    for (const run of this.#runs) run.abort('shutdown');
    await within(LAST_WORDS_MS, closed);
  }

  async #process(held: HeldJob, signal: AbortSignal | undefined): Promise<void> {
    const { queueName, logger } = this.#options;
    // Parsed again: another process, maybe of another version, wrote it.
    const parsed = batchLineJobSchema.safeParse(held.queued.data);
    const jobId = held.queued.id ?? '';
    if (!parsed.success) {
      logger.error({ err: parsed.error, jobId, queueName }, 'a line of an unknown shape');
      await this.#recorder.refuse(held.queued.data);
      return;
    }
    const { batchId, line, tenantId, requestId } = parsed.data;
    const run = new LineRun(batchId, jobId);
    // This process may have lost the lock of a run that it still has.
    for (const other of this.#runs) if (other.jobId === jobId) other.abort('lock-lost');
    this.#runs.add(run);
    const abort = () => run.abort('lock-lost');
    signal?.addEventListener('abort', abort, { once: true });
    if (signal?.aborted) abort();
    if (this.#worker.closing) run.abort('shutdown');
    try {
      await withLogContext({ requestId, tenantId, batchId, line, jobId }, async () => {
        await this.#runToEnd(parsed.data, run, held);
      });
    } finally {
      signal?.removeEventListener('abort', abort);
      this.#runs.delete(run);
    }
  }

  async #runToEnd(job: BatchLineJob, run: LineRun, held: HeldJob): Promise<void> {
    const { queueName: queue } = this.#options;
    try {
      this.#lines.inc({ queue, result: await this.#run(job, run, held.queued.stalledCounter) });
    } catch (thrown) {
      const { result, tell } = await this.#endFailed(job, held, thrown);
      this.#lines.inc({ queue, result });
      if (tell) throw tell;
    }
  }

  async #run(job: BatchLineJob, run: LineRun, stalls: number): Promise<RunResult> {
    const { batches, kind } = this.#options;
    if ((await batches.lineState(job.batchId, job.line)) !== 'open') return 'dropped';
    if (stalls > MAX_STALLS) {
      const message = `${stalls} workers stopped while they worked on this line.`;
      return this.#recorder.recordError(job, new VoiceError('engine_failed', { message }));
    }
    if (job.work.type !== kind) throw new VoiceError('internal_error');
    const outcome = await run.handle(job as LineContext<Kind>['job'], this.#options);
    return this.#recorder.record(job, outcome);
  }

  /** What becomes of a line that has no result yet. BullMQ is told by what is thrown. */
  async #endFailed(
    job: BatchLineJob,
    { queued, token }: HeldJob,
    thrown: unknown,
  ): Promise<{ result: RunResult; tell?: Error }> {
    const { logger } = this.#options;
    if (thrown instanceof LineAborted && thrown.reason === 'batch-end')
      return { result: 'dropped' };
    // It is another's: BullMQ must leave it alone.
    if (thrown instanceof LineAborted && thrown.reason === 'lock-lost')
      return { result: 'dropped', tell: new WaitingError() };
    const error = VoiceError.from(thrown);
    // An engine that is being closed under the line says so itself.
    if (thrown instanceof LineAborted || error.code === 'server_shutting_down') {
      await queued.moveToWait(token);
      return { result: 'returned', tell: new WaitingError() };
    }
    if (isBusy(error)) {
      const delayMs = busyDelayMs(error);
      await queued.moveToDelayed(Date.now() + delayMs, token);
      logger.info({ code: error.code, delayMs }, 'line put off');
      return { result: 'delayed', tell: new DelayedError() };
    }
    if (isWorthTrying(thrown) && queued.attemptsMade + 1 < (queued.opts.attempts ?? 1)) {
      logger.warn({ err: error }, 'line again');
      return { result: 'again', tell: new LineAgain(error.code) };
    }
    logger.warn({ err: error }, 'line failed');
    return { result: await this.#recorder.recordError(job, error) };
  }
}

/** Stands in Redis with the job until it runs again: a code, nothing of the line. */
class LineAgain extends Error {
  constructor(code: string) {
    super(code);
    this.name = 'LineAgain';
    this.stack = '';
  }
}
