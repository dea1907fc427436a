import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from '../runtime/logger.ts';
import type { ScriptedRedis } from '../streams/stream-scripts.ts';
import { type WorkerAnnouncement, WorkerHeartbeat } from './worker-registry.ts';

/** What the engine tells about itself, for the registry. */
export type Announced = Pick<
  WorkerAnnouncement,
  'models' | 'voices' | 'languages' | 'parallelPhrases' | 'maxPhraseCharacters'
>;

export interface AnnouncerOptions {
  /** Asks the engine: at start until it answers (a remote one may still be starting), then every minute. */
  announce: (signal: AbortSignal) => Promise<Announced>;
  redis: ScriptedRedis;
  logger: Logger;
  identity: Omit<WorkerAnnouncement, keyof Announced>;
}

const ASK_AGAIN_MS = 60_000;
const RETRY_MS = 2000;
const ASK_TIMEOUT_MS = 10_000;

/** Tells the gateways what a worker's engine offers. */
export class Announcer {
  readonly #options: AnnouncerOptions;
  readonly #closing = new AbortController();
  readonly #heartbeat: WorkerHeartbeat;
  #offer: Announced = { models: [] };
  #timer: NodeJS.Timeout | undefined;

  /** Whether gateways know this worker. */
  announced = false;

  constructor(options: AnnouncerOptions) {
    this.#options = options;
    this.#heartbeat = new WorkerHeartbeat(
      options.redis,
      () => ({ ...options.identity, ...this.#offer }),
      (error) => options.logger.warn({ err: error }, 'heartbeat'),
    );
  }

  /** Resolves when the worker is announced; `takeJobs` runs just before. */
  async start(takeJobs: () => Promise<void>): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted && !(await this.#ask())) {
      await delay(RETRY_MS, undefined, { signal }).catch(() => undefined);
    }
    if (signal.aborted) return;
    await takeJobs();
    await this.#heartbeat.start();
    this.announced = true;
    this.#timer = setInterval(() => void this.#ask(), ASK_AGAIN_MS);
    const { queueName, concurrency } = this.#options.identity;
    this.#options.logger.info({ queueName, concurrency, models: this.#offer.models }, 'ready');
  }

  /** The worker takes no more jobs, and ends those it has. */
  async drain(): Promise<void> {
    this.#closing.abort();
    clearInterval(this.#timer);
    if (this.announced) await this.#heartbeat.drain();
  }

  async leave(): Promise<void> {
    clearInterval(this.#timer); // a start that was under way may have set it after `drain`
    if (this.announced) await this.#heartbeat.leave();
    this.announced = false;
  }

  async #ask(): Promise<boolean> {
    const timeout = AbortSignal.timeout(ASK_TIMEOUT_MS);
    try {
      this.#offer = await this.#options.announce(AbortSignal.any([timeout, this.#closing.signal]));
      return true;
    } catch (error) {
      if (this.#closing.signal.aborted) return false;
      this.#options.logger.warn(
        { err: error },
        'the engine does not tell its models; asking again',
      );
      return false;
    }
  }
}
