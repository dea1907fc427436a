import { type Job, Queue, Worker } from 'bullmq';
import type { Redis } from 'ioredis';
import type { z } from 'zod';
import { throwStoreFault } from '../storage/store-fault.ts';

export interface RetryQueueOptions {
  name: string;
  /** Times that something is tried in all. */
  attempts: number;
  /** The wait before the second attempt; each later one is twice as long. */
  firstRetryMs: number;
  /** So long something that is done cannot be added again. */
  keepDoneSeconds: number;
  /** Of connections. */
  onError: (error: Error) => void;
}

/** Of what was given up: for somebody to look at. */
const KEPT_FAILURES = 1000;
const MOST_DEATHS = 100;

/** Small things to be done at least once, by whichever process takes them, however long that fails. */
export class RetryQueue<Data extends object> {
  readonly #redis: Redis;
  readonly #options: RetryQueueOptions;
  readonly #queue: Queue;

  /** `redis`: a `command` connection of the queues. */
  constructor(redis: Redis, options: RetryQueueOptions) {
    this.#redis = redis;
    this.#options = options;
    this.#queue = new Queue(options.name, { connection: redis, skipVersionCheck: true });
    this.#queue.on('error', options.onError);
  }

  /** What is known by its id already is not added again. Throws `queue_unavailable` or `storage_full`. */
  async add(jobId: string, data: Data): Promise<void> {
    // BullMQ's own wait for a connection never settles while Redis is down.
    if (this.#redis.status !== 'ready') throwStoreFault(this.#redis.status);
    const { name, attempts, firstRetryMs, keepDoneSeconds } = this.#options;
    await this.#queue
      .add(name, data, {
        jobId,
        attempts,
        backoff: { type: 'exponential', delay: firstRetryMs },
        removeOnComplete: { age: keepDoneSeconds },
        removeOnFail: { count: KEPT_FAILURES },
      })
      .catch(throwStoreFault);
  }

  async close(): Promise<void> {
    await this.#queue.close();
  }
}

export interface RetryWorkerOptions<Data> {
  name: string;
  /** A `patient` connection of the queues. */
  redis: Redis;
  schema: z.ZodType<Data>;
  concurrency: number;
  lockDurationMs: number;
  stalledIntervalMs: number;
  /** One attempt; what it throws is told to `onFailure`. */
  attempt: (data: Data, signal: AbortSignal) => Promise<void>;
  onFailure: (error: Error, failed: { jobId: string; attempts: number; over: boolean }) => void;
  onError: (error: Error) => void;
}

/** Takes from a RetryQueue. What a process that died was at is taken by another when its lock is over. */
export class RetryWorker<Data> {
  readonly #worker: Worker;
  readonly #stopped = new AbortController();

  constructor(options: RetryWorkerOptions<Data>) {
    const { name, redis, schema, concurrency, attempt, onFailure, onError } = options;
    const { lockDurationMs: lockDuration, stalledIntervalMs: stalledInterval } = options;
    this.#worker = new Worker(
      name,
      async (job: Job) => attempt(schema.parse(job.data), this.#stopped.signal),
      {
        ...{ connection: redis, concurrency, lockDuration, stalledInterval },
        // That processes die says nothing about what they were doing.
        maxStalledCount: MOST_DEATHS,
        skipVersionCheck: true,
      },
    );
    this.#worker.on('error', onError);
    this.#worker.on('failed', (job, error) => {
      const { id: jobId = '', attemptsMade: attempts = 0 } = job ?? {};
      onFailure(error, { jobId, attempts, over: job?.finishedOn !== undefined });
    });
  }

  /** What runs is broken off, and tried again by another. */
  async close(): Promise<void> {
    const closed = this.#worker.close();
    this.#stopped.abort();
    await closed;
  }
}
