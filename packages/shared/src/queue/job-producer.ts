import { FlowProducer, type JobsOptions, Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import { JOB_CATALOG, type JobData, type JobKind } from '../jobs/job-catalog.ts';
import { logContext } from '../runtime/log-context.ts';
import { throwStoreFault } from '../storage/store-fault.ts';
import { createFlowBackend } from './flow-backend.ts';

/** Larger things go by reference into the blob store (25 MB in job data took 312 ms per add). */
export const MAX_JOB_BYTES = 262_144;

export interface EnqueueOptions {
  /** Also makes a second enqueue of the same job harmless. */
  jobId: string;
  /** 0 (default) runs before every other number; then ascending. */
  priority?: number;
}

/** A job and where it goes. */
export interface QueuedJob<Kind extends JobKind> extends EnqueueOptions {
  queueName: string;
  data: JobData[Kind];
}

/** States of a job that nobody works on yet. */
const WAITING_STATES = new Set(['waiting', 'prioritized', 'delayed', 'waiting-children']);

/** Puts jobs into queues over one connection. */
export class JobProducer {
  readonly #redis: Redis;
  readonly #queues = new Map<string, Queue>();
  #flows: FlowProducer | undefined;
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
    options: EnqueueOptions,
  ): Promise<void> {
    this.#refuseWhileAway();
    await this.#queue(queueName)
      .add(kind, inContext(data), jobOptions(kind, options))
      .catch(throwStoreFault);
  }

  /**
   * A chat job that is given to a worker only when all the transcriptions it needs are done. All
   * are enqueued, or none is kept. One that fails for good fails the chat job, whose handler never
   * runs. Throws as `enqueue` does.
   */
  async enqueueAfter(
    parent: QueuedJob<'chat'>,
    children: QueuedJob<'transcription'>[],
  ): Promise<void> {
    this.#refuseWhileAway();
    const node = <Kind extends JobKind>(
      name: Kind,
      { queueName, data, ...queued }: QueuedJob<Kind>,
    ) => ({
      name,
      queueName,
      data: inContext(data),
      opts: jobOptions(name, queued),
    });
    await this.#flow()
      .add({
        ...node('chat', parent),
        children: children.map((child) => {
          const { opts, ...rest } = node('transcription', child);
          return { ...rest, opts: { ...opts, failParentOnFailure: true } };
        }),
      })
      .catch((cause: unknown) => {
        // Not awaited: where Redis does not answer, the client is to hear it first.
        void this.discard(parent.queueName, parent.jobId);
        throwStoreFault(cause);
      });
  }

  /**
   * Takes a job that still waits out of its queue, and with it the jobs that it waits for. Best
   * effort, since whoever gets the job finds its stream closed: resolves with false when it, or one
   * that it waits for, is being worked on, when it is gone, and when Redis is away. Never rejects.
   */
  async discard(queueName: string, jobId: string): Promise<boolean> {
    try {
      this.#refuseWhileAway();
      const queue = this.#queue(queueName);
      // BullMQ calls an unknown job removed.
      if (!WAITING_STATES.has(await queue.getJobState(jobId))) return false;
      return (await queue.remove(jobId, { removeChildren: true })) === 1;
    } catch {
      return false;
    }
  }

  async close(): Promise<void> {
    await Promise.all([...this.#queues.values()].map((queue) => queue.close()));
    await this.#flows?.close();
  }

  /** BullMQ's own wait for a connection never settles while Redis is down. */
  #refuseWhileAway(): void {
    const { status, options } = this.#redis;
    if (options.enableOfflineQueue === false && status !== 'ready') throwStoreFault(status);
  }

  #flow(): FlowProducer {
    if (!this.#flows) {
      this.#flows = new FlowProducer(
        { connection: this.#redis, skipVersionCheck: true },
        createFlowBackend(this.#redis),
      );
      this.#flows.on('error', this.#onError);
    }
    return this.#flows;
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

/** Whoever works on the job logs under the request of whoever asked for it. */
function inContext<Data extends { requestId?: string | undefined }>(data: Data): Data {
  const { requestId = logContext().requestId } = data;
  return requestId === undefined ? data : { ...data, requestId };
}

function jobOptions(kind: JobKind, { jobId, priority = 0 }: EnqueueOptions): JobsOptions {
  return {
    jobId,
    priority,
    attempts: JOB_CATALOG[kind].attempts,
    sizeLimit: MAX_JOB_BYTES * 2, // escapes in JSON: the caller has held to MAX_JOB_BYTES
    removeOnComplete: true, // prompts do not stay in Redis
    removeOnFail: { count: 100 },
  };
}
