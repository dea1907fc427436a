import { Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import {
  BATCH_LINE_JOB_OPTIONS,
  type BatchLineJob,
  batchLineJobId,
} from '../jobs/batch-line-job.ts';
import { throwStoreFault } from '../storage/store-fault.ts';

/** Puts lines of batches into the queues of the engines, over one connection. */
export class LineProducer {
  readonly #redis: Redis;
  readonly #queues = new Map<string, Queue>();
  readonly #onError: (error: Error) => void;

  constructor(redis: Redis, onError: (error: Error) => void) {
    this.#redis = redis;
    this.#onError = onError;
  }

  /**
   * All of them or, when it throws `queue_unavailable` or `storage_full`, perhaps some. A line that
   * is queued already stays as it is.
   */
  async enqueue(queueName: string, lines: BatchLineJob[]): Promise<void> {
    if (lines.length === 0) return;
    // BullMQ's own wait for a connection never settles while Redis is down.
    if (this.#redis.status !== 'ready') throwStoreFault(this.#redis.status);
    const queue = this.#queue(queueName);
    const jobs = lines.map((data) => {
      const jobId = batchLineJobId(data.batchId, data.line);
      return { name: data.work.type, data, opts: { ...BATCH_LINE_JOB_OPTIONS, jobId } };
    });
    await queue.addBulk(jobs).catch(throwStoreFault);
  }

  /** Which of these lines' jobs are there, waiting or worked on. Throws as `enqueue` does. */
  async queued(queueName: string, batchId: string, lines: number[]): Promise<Set<number>> {
    if (this.#redis.status !== 'ready') throwStoreFault(this.#redis.status);
    const queue = this.#queue(queueName);
    const asked = this.#redis.pipeline();
    for (const line of lines) asked.exists(queue.toKey(batchLineJobId(batchId, line)));
    const answers = (await asked.exec().catch(throwStoreFault)) ?? [];
    const found = lines.filter((_line, position) => {
      const [error, exists] = answers[position] ?? [new Error('no answer')];
      if (error) throwStoreFault(error);
      return exists === 1;
    });
    return new Set(found);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#queues.values()].map((queue) => queue.close()));
  }

  #queue(name: string): Queue {
    let queue = this.#queues.get(name);
    if (!queue) {
      queue = new Queue(name, { connection: this.#redis, skipVersionCheck: true });
      queue.on('error', this.#onError);
      this.#queues.set(name, queue);
    }
    return queue;
  }
}
