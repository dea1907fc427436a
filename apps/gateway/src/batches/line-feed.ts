import { setImmediate as nextTurn } from 'node:timers/promises';
import { inputBlobId } from '@antiphon/shared/batches/batch-key';
import type { BatchRecord, BatchRoute } from '@antiphon/shared/batches/batch-record';
import type { LineProducer } from '@antiphon/shared/batches/line-producer';
import type { LineResult } from '@antiphon/shared/batches/line-result';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import { type BatchLineJob, batchQueueName } from '@antiphon/shared/jobs/batch-line-job';
import { queueName } from '@antiphon/shared/jobs/job-catalog';
import { MAX_JOB_BYTES } from '@antiphon/shared/queue/job-producer';
import type { GatewayContext } from '../gateway-context.ts';
import { readLine } from './input-line.ts';
import { FIRST_LINE, type InputLine, type LinePlace, readBlock } from './input-lines.ts';
import { openInput } from './input-blob.ts';
import { STAGE_OF, planLine } from './line-plan.ts';

/** Planned, and sent to Redis, in one go. */
const MOST_AT_ONCE = 64;
const LEAST_AT_ONCE = 16;
const LEAST_WINDOW = 64;
/** Lines that wait for each that is worked on: seconds of work while a gateway changes hands. */
const WAITING_PER_TURN = 16;
/**
 * Of one batch, in the queue: Redis holds them all. 8 MiB are 32 bodies of the most that a job may
 * have, more than an engine takes at once, and 500 texts of 4096 letters of four bytes.
 */
const MOST_QUEUED_BYTES = 8_388_608;
/** Of lines that are being planned, before others have their turn. */
const PLAN_SLICE_MS = 10;

/** These say nothing of the line: it is fed again when they are over. */
const OUTAGES = new Set(['queue_unavailable', 'storage_full', 'storage_unavailable']);

/** What a walk begins with. */
export interface WalkStart {
  batch: BatchRecord;
  route: BatchRoute;
  /** Lines that have a result. */
  done: ReadonlySet<number>;
}

/** One walk over the input of a batch: feeds what had no result when it began, in order. */
export class LineFeed {
  readonly #context: GatewayContext;
  readonly #producer: LineProducer;
  readonly #batch: BatchRecord;
  readonly #route: BatchRoute;
  /** Had a result when the walk began. */
  readonly #done: ReadonlySet<number>;
  #lines: InputLine[] = [];
  #next: LinePlace | undefined = FIRST_LINE;
  #fed = 0;
  /** Of the lines fed last: those without a result are about these, since a queue keeps its order. */
  #sizes: number[] = [];

  constructor(context: GatewayContext, producer: LineProducer, { batch, route, done }: WalkStart) {
    this.#context = context;
    this.#producer = producer;
    this.#batch = batch;
    this.#route = route;
    this.#done = done;
  }

  /** All lines were fed. */
  get isOver(): boolean {
    return this.#lines.length === 0 && this.#next === undefined;
  }

  /**
   * Feeds the next lines as far as the window has room for them; `recorded`: results that the batch
   * has now. Resolves with how many were fed. Who they are for need not be there.
   */
  async feed(recorded: number): Promise<number> {
    const outstanding = this.#done.size + this.#fed - recorded;
    const most = Math.min(MOST_AT_ONCE, this.#window() - outstanding);
    if (most < LEAST_AT_ONCE) return 0;
    this.#sizes = outstanding > 0 ? this.#sizes.slice(-outstanding) : [];
    const mostBytes = MOST_QUEUED_BYTES - this.#sizes.reduce((sum, size) => sum + size, 0);
    const lines = await this.#take({ most, mostBytes });
    if (lines.length > 0) await this.#enqueue(await this.#unqueued(lines));
    this.#fed += lines.length;
    this.#sizes.push(...lines.map(sizeInQueue));
    return lines.length;
  }

  #window(): number {
    if ('error' in this.#route) return Infinity;
    const queue = queueName(STAGE_OF[this.#batch.endpoint], this.#route.engine);
    const workers = this.#context.directory.liveWorkers(queue);
    const turns = workers.reduce((sum, { concurrency }) => sum + concurrency, 0);
    return Math.max(LEAST_WINDOW, turns * WAITING_PER_TURN);
  }

  async #take({ most, mostBytes }: { most: number; mostBytes: number }): Promise<InputLine[]> {
    const taken: InputLine[] = [];
    let bytes = 0;
    while (taken.length < most && !this.isOver) {
      if (this.#lines.length === 0 && this.#next) {
        const blobId = inputBlobId(this.#batch.id);
        const open = (offset: number) => openInput(this.#context.fileBlobs, blobId, offset);
        const block = await readBlock(open, this.#next);
        this.#lines = block.lines.filter(({ line }) => !this.#done.has(line));
        this.#next = block.next;
      }
      const [line] = this.#lines;
      if (!line) continue;
      bytes += sizeInQueue(line);
      if (bytes > mostBytes) break;
      taken.push(line);
      this.#lines.shift();
    }
    return taken;
  }

  /**
   * Lines that an earlier walk has queued are left alone: judged again, one whose recording was
   * deleted since would fail under the worker that does it.
   */
  async #unqueued(lines: InputLine[]): Promise<InputLine[]> {
    const [{ id, endpoint }, route] = [this.#batch, this.#route];
    if ('error' in route) return lines;
    const queue = batchQueueName(STAGE_OF[endpoint], route.engine);
    const numbers = lines.map(({ line }) => line);
    const queued = await this.#producer.queued(queue, id, numbers);
    return lines.filter(({ line }) => !queued.has(line));
  }

  async #enqueue(lines: InputLine[]): Promise<void> {
    const { batches } = this.#context;
    const jobs: BatchLineJob[] = [];
    const refused: { line: number; result: LineResult }[] = [];
    let sliceStartMs = performance.now();
    for (const input of lines) {
      const planned = await this.#plan(input);
      if ('type' in planned) refused.push({ line: input.line, result: planned });
      else jobs.push(planned);
      if (performance.now() - sliceStartMs < PLAN_SLICE_MS) continue;
      await nextTurn();
      sliceStartMs = performance.now();
    }
    const [{ id, endpoint }, route] = [this.#batch, this.#route];
    if (!('error' in route)) {
      const queue = batchQueueName(STAGE_OF[endpoint], route.engine);
      await this.#producer.enqueue(queue, jobs);
    }
    await Promise.all(refused.map(({ line, result }) => batches.record(id, line, { result })));
  }

  async #plan(input: InputLine): Promise<BatchLineJob | LineResult> {
    const [batch, route] = [this.#batch, this.#route];
    if ('error' in route) return { type: 'error', error: route.error };
    try {
      const { line } = input;
      const { body } = readLine(input);
      return await planLine(this.#context, { batch, line, body, route });
    } catch (thrown) {
      const error = VoiceError.from(thrown);
      if (OUTAGES.has(error.code)) throw error;
      return { type: 'error', error: error.serialize() };
    }
  }
}

/** About as long as the line; a longer body lies in the files' store. */
const sizeInQueue = ({ bytes }: InputLine): number => Math.min(bytes?.length ?? 0, MAX_JOB_BYTES);
