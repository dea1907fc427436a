import { Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import { VoiceError } from '../errors/voice-error.ts';
import { isStorageFull } from '../streams/storage-full.ts';
import { JOB_CATALOG, type JobData, type JobKind } from '../jobs/job-catalog.ts';

/** Larger things go by reference into the blob store (25 MB in job data took 312 ms per add). */
export const MAX_JOB_BYTES = 262_144;

export interface EnqueueOptions {
  /** Also makes a second enqueue of the same job harmless. */
  jobId: string;
  /** 0 (default) runs before every other number; then ascending. */
  priority?: number;
}

/** Puts jobs into queues over one connection. */
export class JobProducer {
  readonly #redis: Redis;
  readonly #queues = new Map<string, Queue>();
  readonly #onError: (error: Error) => void;

  constructor(redis: Redis, onError: (error: Error) => void) {
    this.#redis = redis;
    this.#onError = onError;
  }

  /**
   * Throws `queue_unavailable` or `storage_full` when Redis does not take the job; it may have been
   * taken all the same.
   */
  async enqueue<Kind extends JobKind>(
    queueName: string,
    kind: Kind,
    data: JobData[Kind],
    { jobId, priority = 0 }: EnqueueOptions,
  ): Promise<void> {
    const { status, options: redisOptions } = this.#redis;
    // BullMQ's own wait for a connection never settles while Redis is down.
    if (redisOptions.enableOfflineQueue === false && status !== 'ready') {
      throw new VoiceError('queue_unavailable', { cause: status, retryAfterSeconds: 1 });
    }
    try {
      await this.#queue(queueName).add(kind, data, {
        jobId,
        priority,
        attempts: JOB_CATALOG[kind].attempts,
        sizeLimit: MAX_JOB_BYTES * 2, // escapes in JSON: the caller has held to MAX_JOB_BYTES
        removeOnComplete: true, // prompts do not stay in Redis
        removeOnFail: { count: 100 },
      });
    } catch (cause) {
      const code = isStorageFull(cause) ? 'storage_full' : 'queue_unavailable';
      throw new VoiceError(code, { cause, retryAfterSeconds: 1 });
    }
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
