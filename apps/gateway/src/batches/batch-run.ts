import { addAbortSignal } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { inputBlobId } from '@antiphon/shared/batches/batch-key';
import { type BatchRecord, isOver } from '@antiphon/shared/batches/batch-record';
import type { LineProducer } from '@antiphon/shared/batches/line-producer';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { GatewayContext } from '../gateway-context.ts';
import { chooseRoute } from './choose-route.ts';
import { InputGone, inputFault, keepInput, openInput } from './input-blob.ts';
import { clearBatch } from './clear-batch.ts';
import { LineFeed } from './line-feed.ts';
import { STAGE_OF } from './line-plan.ts';
import { type Ending, type WrittenBatch, writeBatchFiles } from './output-files.ts';
import { validateInput } from './validate-input.ts';
import { Wake } from './wake.ts';

/** Looks so often by itself: pub/sub may lose a message. */
const TICK_MS = 1000;
const LOOK_GAP_MS = 100;
/** Nothing has moved for so long: jobs may be lost, and the input is walked over again. */
const LEAST_STANDSTILL_MS = 30_000;
/** Doubled each time, up to this: one slow line must not have 200 MB read again and again. */
const MOST_STANDSTILL_MS = 480_000;
const LEAST_RETRY_MS = 500;
const MOST_RETRY_MS = 10_000;

export interface BatchRunOptions {
  context: GatewayContext;
  producer: LineProducer;
  batchId: string;
  /** Aborts what workers do for the batch. */
  stopLines: (batchId: string) => Promise<void>;
  signal: AbortSignal;
  /** 30 s unless told. */
  leastStandstillMs?: number;
}

/**
 * Brings one batch from where it is to its end. All its steps may be done twice, also by two
 * gateways at once: what counts happens once, in Redis.
 */
export class BatchRun {
  readonly #options: BatchRunOptions;
  readonly #wake = new Wake();
  readonly #leastStandstillMs: number;
  #standstillMs: number;
  #retryMs = LEAST_RETRY_MS;
  readonly #keptAtMs = performance.now();
  /** Lines were fed, or have ended. */
  #movedAtMs = performance.now();
  #leaving = false;
  /** Where its files were written here. */
  #written: WrittenBatch | undefined;

  constructor(options: BatchRunOptions) {
    this.#options = options;
    this.#leastStandstillMs = options.leastStandstillMs ?? LEAST_STANDSTILL_MS;
    this.#standstillMs = this.#leastStandstillMs;
  }

  get keptMs(): number {
    return performance.now() - this.#keptAtMs;
  }

  /** For so long nothing has moved. */
  get stoodMs(): number {
    return performance.now() - this.#movedAtMs;
  }

  get isLeaving(): boolean {
    return this.#leaving;
  }

  /** Ends the run after its present step: the batch is another's. */
  leave(): void {
    this.#leaving = true;
    this.#wake.call();
  }

  /** Resolves with whether the batch is over: not when it was left, or the signal came. Never rejects. */
  async run(): Promise<boolean> {
    const { context, batchId, signal } = this.#options;
    const unsubscribe = context.batchSubscriber.subscribe(batchId, this.#wake.call);
    try {
      while (!signal.aborted && !this.#leaving) if (await this.#try()) return true;
      return false;
    } finally {
      unsubscribe();
    }
  }

  /** One step; where it fails, a while is waited. */
  async #try(): Promise<boolean> {
    const { signal } = this.#options;
    try {
      const over = await this.#step().catch(async (error: unknown) => this.#giveUp(error));
      this.#retryMs = LEAST_RETRY_MS;
      return over;
    } catch (error) {
      if (signal.aborted) return false;
      // Told once, however long it takes.
      if (this.#retryMs === LEAST_RETRY_MS) this.#warn(error);
      await this.#wake.wait(this.#retryMs, signal);
      this.#retryMs = Math.min(this.#retryMs * 2, MOST_RETRY_MS);
      return false;
    }
  }

  async #step(): Promise<boolean> {
    const { context, batchId } = this.#options;
    const batch = await context.batches.find(batchId);
    if (!batch) return true;
    switch (batch.status) {
      case 'validating':
        await this.#validate(batch);
        return false;
      case 'in_progress':
        await this.#feed(batch);
        return false;
      case 'cancelling':
        await this.#end(batch, 'cancelled');
        return false;
      case 'finalizing':
        // Nothing else closes one that still has lines.
        await this.#end(batch, isDone(batch) ? 'completed' : 'expired');
        return false;
      default:
        // First of all: what follows may take a while.
        await context.webhooks.announceEnd(batch);
        return clearBatch(context, batch, { written: this.#written, signal: this.#options.signal });
    }
  }

  /** Where the copy of the input is gone, it is made again; where that cannot be, the batch ends. */
  async #giveUp(error: unknown): Promise<false> {
    const { context, batchId, signal } = this.#options;
    const { batches, fileBlobs } = context;
    const batch = error instanceof InputGone ? await batches.find(batchId) : undefined;
    if (!batch) throw error;
    if (isOver(batch.status) || (await keepInput(fileBlobs, batch, signal))) return false;
    if (batch.closed === undefined) await this.#close(batch);
    const message = 'The file and its copy were lost while the batch went on.';
    await batches.lose(batchId, inputFault(batch, message));
    this.#log(batch, 'batch failed: its input is gone');
    return false;
  }

  async #validate(batch: BatchRecord): Promise<void> {
    const { context, signal } = this.#options;
    const { batches, config, directory, fileBlobs } = context;
    const { id, endpoint } = batch;
    if (!(await keepInput(fileBlobs, batch, signal))) {
      await batches.fail(id, [inputFault(batch)]);
      return;
    }
    const fallback = await directory.remembered(STAGE_OF[endpoint], undefined);
    const input = await openInput(fileBlobs, inputBlobId(id), 0);
    const checked = await validateInput(addAbortSignal(signal, input), {
      ...{ endpoint, maxLines: config.MAX_BATCH_LINES },
      defaultModel: fallback?.model,
    });
    if ('faults' in checked) {
      await batches.fail(id, checked.faults);
      this.#log(batch, 'batch refused');
    } else {
      await batches.start(id, checked);
      this.#log(batch, 'batch started');
    }
  }

  /** Until there is something else to do. */
  async #feed(batch: BatchRecord): Promise<void> {
    const { context, signal } = this.#options;
    const { batches } = context;
    let feed: LineFeed | undefined;
    let recorded = recordedOf(batch);
    this.#movedAtMs = performance.now();
    while (!signal.aborted && !this.#leaving) {
      const now = await batches.find(batch.id);
      if (now?.status !== 'in_progress') return;
      if (isDone(now) || isExpired(now)) return this.#close(now);
      if (recordedOf(now) !== recorded) {
        recorded = recordedOf(now);
        this.#movedAtMs = performance.now();
        this.#standstillMs = this.#leastStandstillMs;
      }
      feed ??= await this.#openFeed(now);
      const fed = !feed || feed.isOver ? 0 : await feed.feed(recorded);
      if (fed > 0) {
        this.#movedAtMs = performance.now();
        continue;
      }
      if (this.stoodMs > this.#standstillMs) break;
      await this.#wake.wait(TICK_MS, signal);
      await delay(LOOK_GAP_MS); // lines that end together are one look
    }
    this.#standstillMs = Math.min(this.#standstillMs * 2, MOST_STANDSTILL_MS);
  }

  async #openFeed(batch: BatchRecord): Promise<LineFeed | undefined> {
    const { context, producer } = this.#options;
    const route = await chooseRoute(context, batch);
    if (!route) return undefined;
    const done = await context.batches.doneLines(batch.id);
    return new LineFeed(context, producer, { batch, route, done });
  }

  async #close(batch: BatchRecord): Promise<void> {
    const { context, stopLines } = this.#options;
    await context.batches.close(batch.id);
    if (!isDone(batch)) await stopLines(batch.id);
  }

  async #end(batch: BatchRecord, ending: Ending): Promise<void> {
    const { batches } = this.#options.context;
    if (batch.closed === undefined) await this.#close(batch);
    const hasLines = batch.inProgressAt !== undefined;
    // What was counted between the look and the close is in the files.
    const closed = hasLines ? await batches.find(batch.id) : undefined;
    const written = closed && (await writeBatchFiles(this.#options.context, closed, ending));
    if (hasLines && !written) return;
    await batches.end(batch.id, ending, written?.files ?? {});
    this.#written = written;
    this.#log(batch, `batch ${ending}`);
  }

  #log({ id, tenantId, requestId }: BatchRecord, message: string): void {
    this.#options.context.logger.info({ batchId: id, tenantId, requestId }, message);
  }

  #warn(error: unknown): void {
    const { context, batchId } = this.#options;
    context.logger.warn({ err: VoiceError.from(error), batchId }, 'a batch waits');
  }
}

const recordedOf = ({ completed, failed }: BatchRecord): number => completed + failed;

const isDone = (batch: BatchRecord): boolean => recordedOf(batch) >= batch.total;

const isExpired = ({ expiresAt }: BatchRecord): boolean => Date.now() / 1000 >= expiresAt;
