import { KEEP_MS, KeptBatches } from '@antiphon/shared/batches/kept-batches';
import { LineProducer } from '@antiphon/shared/batches/line-producer';
import { within } from '@antiphon/shared/runtime/within';
import { publishControl } from '@antiphon/shared/streams/control-channel';
import type { Redis } from 'ioredis';
import type { GatewayContext } from '../gateway-context.ts';
import { BatchRun } from './batch-run.ts';

/** How often batches are looked for that nobody keeps: new ones, and those of dead gateways. */
const LOOK_MS = 500;
/** Each one reads its file, 1 MB at a time, and asks Redis by itself; what is more waits for its turn. */
const MOST_RUNS = 100;
/** While others wait, one in which nothing moves has its place for so long, */
const IDLE_TURN_MS = 5000;
/** and one that goes on for so long: whoever takes it over reads its file from the start. */
const BUSY_TURN_MS = 60_000;
/** On the way out. */
const STOP_WAIT_MS = 1000;

export interface BatchRunnerOptions {
  /** `MOST_RUNS` unless told. */
  mostRuns?: number;
  /** `IDLE_TURN_MS` unless told. */
  idleTurnMs?: number;
}

interface KeptRun {
  run: BatchRun;
  ended: Promise<unknown>;
}

/** The runner at work. Whoever closes the context closes it before. `streamRedis`: where control messages are heard. */
export function startBatchRunner(context: GatewayContext, streamRedis: Redis): BatchRunner {
  const runner = new BatchRunner(context, streamRedis);
  runner.start();
  return runner;
}

/**
 * The batches that this gateway keeps. It takes new ones and those whose gateway died; what it
 * keeps when it stops, another one takes.
 */
export class BatchRunner {
  readonly #context: GatewayContext;
  readonly #streamRedis: Redis;
  readonly #leases: KeptBatches;
  readonly #producer: LineProducer;
  readonly #mostRuns: number;
  readonly #idleTurnMs: number;
  /** The first is here the longest. */
  readonly #kept = new Map<string, KeptRun>();
  readonly #stopping = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #renewedAtMs = -Infinity;
  #ticking = false;
  #failed = false;

  constructor(
    context: GatewayContext,
    streamRedis: Redis,
    { mostRuns = MOST_RUNS, idleTurnMs = IDLE_TURN_MS }: BatchRunnerOptions = {},
  ) {
    this.#context = context;
    this.#mostRuns = mostRuns;
    this.#idleTurnMs = idleTurnMs;
    this.#streamRedis = streamRedis;
    this.#leases = new KeptBatches(context.queueRedis);
    const onError = (error: Error) => context.logger.warn({ err: error }, 'redis');
    this.#producer = new LineProducer(context.queueRedis, onError);
  }

  start(): void {
    this.#timer = setInterval(() => void this.#tick(), LOOK_MS);
    this.#timer.unref();
    void this.#tick();
  }

  /** How many batches are kept here. */
  get size(): number {
    return this.#kept.size;
  }

  /** Leaves its batches to whoever looks next, at once. */
  async close(): Promise<void> {
    const batchIds = [...this.#kept.keys()];
    await this.stop();
    const given = this.#leases.handOver(batchIds);
    given.catch((error: unknown) => this.#warn(error));
    await within(STOP_WAIT_MS, Promise.all([given, this.#producer.close()]));
  }

  /** Ends its work, and tells nobody. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#stopping.abort();
    await within(STOP_WAIT_MS, Promise.all([...this.#kept.values()].map(({ ended }) => ended)));
  }

  async #tick(): Promise<void> {
    if (this.#ticking || this.#stopping.signal.aborted) return;
    this.#ticking = true;
    try {
      if (performance.now() - this.#renewedAtMs >= KEEP_MS) {
        await this.#leases.keep([...this.#kept.keys()]);
        this.#renewedAtMs = performance.now();
      }
      const found = await this.#leases.adopt(this.#mostRuns - this.#kept.size);
      if (this.#stopping.signal.aborted) await this.#leases.handOver(found);
      for (const batchId of found) this.#keep(batchId);
      if (this.#kept.size >= this.#mostRuns) await this.#makeRoom();
      this.#failed = false;
    } catch (error) {
      if (!this.#failed) this.#warn(error); // the next one tries again
      this.#failed = true;
    } finally {
      this.#ticking = false;
    }
  }

  /**
   * A hundred batches without a worker must not keep the others from theirs, nor from their end.
   * One that is left is nobody's after a while, and found again behind those that wait longer.
   */
  async #makeRoom(): Promise<void> {
    const runs = [...this.#kept.values()].map(({ run }) => run);
    let wanted = await this.#leases.countUnkept();
    for (const run of runs) if (run.isLeaving) wanted -= 1;
    const hadTurn = ({ keptMs, stoodMs }: BatchRun) =>
      stoodMs > this.#idleTurnMs || keptMs > BUSY_TURN_MS;
    const leaving = runs.filter((run) => !run.isLeaving && hadTurn(run));
    for (const run of leaving.slice(0, Math.max(0, wanted))) run.leave();
  }

  #keep(batchId: string): void {
    const { signal } = this.#stopping;
    if (this.#kept.has(batchId) || signal.aborted) return;
    const run = new BatchRun({
      ...{ context: this.#context, producer: this.#producer, batchId, signal },
      stopLines: (ended) =>
        publishControl(this.#streamRedis, { type: 'batch-end', batchId: ended }),
    });
    const end = async () => {
      if (await run.run()) await this.#leases.forget(batchId);
    };
    const ended = end()
      .catch((error: unknown) => this.#warn(error, batchId)) // found again, and forgotten then
      .finally(() => this.#kept.delete(batchId));
    this.#kept.set(batchId, { run, ended });
  }

  #warn(error: unknown, batchId?: string): void {
    this.#context.logger.warn({ err: error, batchId }, 'batches');
  }
}
