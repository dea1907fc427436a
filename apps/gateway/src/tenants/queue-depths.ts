import { type QueueCounts, readQueueCounts } from '@antiphon/shared/queue/queue-counts';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import { STAGES } from '@antiphon/shared/jobs/job-catalog';
import type { Redis } from 'ioredis';
import type { WorkerDirectory } from '../models/worker-directory.ts';
import type { WatchedStream } from '../replies/watched-stream.ts';

const LOOK_MS = 1000;
/** Over which the speed of a queue is taken. */
const LOOKS_KEPT = 10;
/** While the speed of a queue is not known. */
const RETRY_SECONDS = 5;
const MOST_RETRY_SECONDS = 60;

export interface QueueDepthsOptions {
  /** The queues'. */
  redis: Redis;
  directory: Pick<WorkerDirectory, 'workersOf'>;
  /** What is watched by this gateway. */
  streams: () => Iterable<WatchedStream>;
  /** Most jobs that may wait in a queue; 0: any number. */
  maxDepth: number;
  onError: (error: Error) => void;
}

interface Look extends QueueCounts {
  atMs: number;
}

/**
 * How many jobs wait in each queue, a second old at most: a request pays no round trip for it. What
 * this gateway itself has enqueued since is known better, by its own streams.
 */
export class QueueDepths {
  readonly #options: QueueDepthsOptions;
  readonly #looks = new Map<string, Look[]>();
  /** Admitted and not yet watched. */
  readonly #opening = new Map<string, number>();
  readonly #timer: NodeJS.Timeout | undefined;

  constructor(options: QueueDepthsOptions) {
    this.#options = options;
    if (options.maxDepth === 0) return;
    this.#timer = setInterval(() => void this.look().catch(options.onError), LOOK_MS);
    this.#timer.unref();
  }

  close(): void {
    clearInterval(this.#timer);
  }

  /** The counts of all queues of the workers that are known. Rejects with ioredis' errors. */
  async look(): Promise<QueueCounts[]> {
    const { redis, directory } = this.#options;
    const names = STAGES.flatMap((stage) =>
      directory.workersOf(stage).map(({ queueName }) => queueName),
    );
    const counts = await readQueueCounts(redis, names);
    const atMs = performance.now();
    for (const count of counts) {
      const looks = this.#looks.get(count.queueName) ?? [];
      looks.push({ ...count, atMs });
      this.#looks.set(count.queueName, looks.slice(-LOOKS_KEPT));
    }
    return counts;
  }

  /**
   * Throws `server_is_overloaded` when one of these queues has all it may have. What it resolves
   * with is called when the stream is watched, or is not going to be.
   */
  enter(queueNames: readonly string[]): () => void {
    const { maxDepth } = this.#options;
    if (maxDepth === 0) return () => undefined;
    for (const name of queueNames) {
      const depth = this.#depth(name);
      if (depth >= maxDepth) throw this.#overloaded(name, depth);
    }
    for (const name of queueNames) this.#opening.set(name, (this.#opening.get(name) ?? 0) + 1);
    let entered = false;
    return () => {
      if (entered) return;
      entered = true;
      for (const name of queueNames) this.#opening.set(name, (this.#opening.get(name) ?? 0) - 1);
    };
  }

  #depth(queueName: string): number {
    let own = this.#opening.get(queueName) ?? 0;
    for (const { waits, role } of this.#options.streams()) {
      if (role === 'follower') continue;
      for (const wait of waits.values()) if (wait.queueName === queueName) own += 1;
    }
    return Math.max(own, this.#looks.get(queueName)?.at(-1)?.waiting ?? 0);
  }

  #overloaded(queueName: string, depth: number): VoiceError {
    const { maxDepth } = this.#options;
    return new VoiceError('server_is_overloaded', {
      message: `The server is overloaded: ${depth} requests wait in the queue already, and it takes ${maxDepth}. Please try again later.`,
      retryAfterSeconds: this.#drainSeconds(queueName, depth),
    });
  }

  /** How long the last job of the queue will wait, by what was taken from it of late. */
  #drainSeconds(queueName: string, depth: number): number {
    const looks = this.#looks.get(queueName) ?? [];
    const [first, last] = [looks[0], looks.at(-1)];
    if (!first || !last || first === last) return RETRY_SECONDS;
    const taken = last.added - last.waiting - (first.added - first.waiting);
    const perSecond = taken / ((last.atMs - first.atMs) / 1000);
    if (perSecond <= 0) return MOST_RETRY_SECONDS;
    return Math.min(MOST_RETRY_SECONDS, Math.max(1, depth / perSecond));
  }
}
