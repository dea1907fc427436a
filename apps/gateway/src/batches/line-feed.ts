import { setImmediate as nextTurn } from 'node:timers/promises';
import { inputBlobId } from '@antiphon/shared/batches/batch-key';
import type { BatchRecord } from '@antiphon/shared/batches/batch-record';
import type { LineProducer } from '@antiphon/shared/batches/line-producer';
import type { LineResult } from '@antiphon/shared/batches/line-result';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import { type BatchLineJob, batchQueueName } from '@antiphon/shared/jobs/batch-line-job';
import type { GatewayContext } from '../gateway-context.ts';
import type { Route } from '../models/worker-directory.ts';
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
/** Of lines that are being planned, before others have their turn. */
const PLAN_SLICE_MS = 10;

/** These say nothing of the line: it is fed again when they are over. */
const OUTAGES = new Set(['queue_unavailable', 'storage_full', 'storage_unavailable']);

/** One walk over the input of a batch: feeds what had no result when it began, in order. */
export class LineFeed {
  readonly #context: GatewayContext;
  readonly #producer: LineProducer;
  readonly #batch: BatchRecord;
  /** Had a result when the walk began. */
  readonly #done: ReadonlySet<number>;
  #lines: InputLine[] = [];
  #next: LinePlace | undefined = FIRST_LINE;
  #fed = 0;

  constructor(
    context: GatewayContext,
    producer: LineProducer,
    { batch, done }: { batch: BatchRecord; done: ReadonlySet<number> },
  ) {
    this.#context = context;
    this.#producer = producer;
    this.#batch = batch;
    this.#done = done;
  }

  /** All lines were fed. */
  get isOver(): boolean {
    return this.#lines.length === 0 && this.#next === undefined;
  }

  /**
   * Feeds the next lines as far as the window has room for them; `recorded`: results that the batch
   * has now. Resolves with how many were fed: 0 also while nobody is known who could do them.
   */
  async feed(recorded: number): Promise<number> {
    const outstanding = this.#done.size + this.#fed - recorded;
    const route = await this.#route();
    if (!route) return 0;
    const room = Math.min(MOST_AT_ONCE, this.#window(route) - outstanding);
    const lines = room >= LEAST_AT_ONCE ? await this.#take(room) : [];
    if (lines.length > 0) await this.#enqueue(lines, route);
    this.#fed += lines.length;
    return lines.length;
  }

  async #route(): Promise<Route | VoiceError | undefined> {
    const { endpoint, model } = this.#batch;
    return this.#context.directory
      .remembered(STAGE_OF[endpoint], model || undefined)
      .catch((error: unknown) => VoiceError.from(error));
  }

  #window(route: Route | VoiceError): number {
    if (route instanceof VoiceError) return Infinity;
    const workers = this.#context.directory.liveWorkers(route.worker.queueName);
    const turns = workers.reduce((sum, { concurrency }) => sum + concurrency, 0);
    return Math.max(LEAST_WINDOW, turns * WAITING_PER_TURN);
  }

  async #take(most: number): Promise<InputLine[]> {
    const taken: InputLine[] = [];
    while (taken.length < most && !this.isOver) {
      if (this.#lines.length === 0 && this.#next) {
        const blobId = inputBlobId(this.#batch.id);
        const open = (offset: number) => openInput(this.#context.fileBlobs, blobId, offset);
        const block = await readBlock(open, this.#next);
        this.#lines = block.lines.filter(({ line }) => !this.#done.has(line));
        this.#next = block.next;
      }
      taken.push(...this.#lines.splice(0, most - taken.length));
    }
    return taken;
  }

  async #enqueue(lines: InputLine[], route: Route | VoiceError): Promise<void> {
    const { batches } = this.#context;
    const jobs: BatchLineJob[] = [];
    const refused: { line: number; result: LineResult }[] = [];
    let sliceStartMs = performance.now();
    for (const input of lines) {
      const planned = await this.#plan(input, route);
      if (planned instanceof VoiceError) {
        const result: LineResult = { type: 'error', error: planned.serialize() };
        refused.push({ line: input.line, result });
      } else jobs.push(planned);
      if (performance.now() - sliceStartMs < PLAN_SLICE_MS) continue;
      await nextTurn();
      sliceStartMs = performance.now();
    }
    if (!(route instanceof VoiceError)) {
      const { stage, engine } = route.worker;
      await this.#producer.enqueue(batchQueueName(stage, engine), jobs);
    }
    const { id } = this.#batch;
    await Promise.all(refused.map(({ line, result }) => batches.record(id, line, { result })));
  }

  /** A VoiceError is the line's result. */
  async #plan(input: InputLine, route: Route | VoiceError): Promise<BatchLineJob | VoiceError> {
    if (route instanceof VoiceError) return route;
    try {
      const { line } = input;
      const { body } = readLine(input);
      return await planLine(this.#context, { batch: this.#batch, line, body, route });
    } catch (thrown) {
      const error = VoiceError.from(thrown);
      if (OUTAGES.has(error.code)) throw error;
      return error;
    }
  }
}
