import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { Stage } from '@antiphon/shared/jobs/job-catalog';
import {
  HEARTBEAT_MS,
  type KnownWorker,
  readWorkers,
} from '@antiphon/shared/queue/worker-registry';
import type { Redis } from 'ioredis';

const REFRESH_MS = 1000;
/** From then on nothing is said by an old picture: Redis was asked three times meanwhile. */
const STALE_MS = REFRESH_MS * 3;

/** After Redis was away workers need so long to be heard of again: until then none counts as dead. */
const RECOVERY_MS = HEARTBEAT_MS * 2;

export interface DirectoryOptions {
  /** `alias=model`. */
  aliases: string[];
  /** By stage: the model used when a request names none. */
  defaults: Partial<Record<Stage, string | undefined>>;
  onError: (error: Error) => void;
}

/** Where a request goes: a queue with a live worker, and the model by its engine's name. */
export interface Route {
  model: string;
  worker: KnownWorker;
}

/** The gateway's picture of the live workers, a second old at most. */
export class WorkerDirectory {
  readonly #redis: Redis;
  readonly #options: DirectoryOptions;
  readonly #aliases: Map<string, string>;
  #workers: KnownWorker[] = [];
  #aliveById = new Map<string, boolean>();
  #refreshedAtMs = 0;
  #failed = false;
  #trustedFromMs = 0;
  #refreshing: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(redis: Redis, options: DirectoryOptions) {
    this.#redis = redis;
    this.#options = options;
    this.#aliases = new Map(options.aliases.map((pair) => splitPair(pair)));
  }

  async start(): Promise<void> {
    await this.refresh();
    this.#timer = setInterval(() => void this.refresh(), REFRESH_MS);
    this.#timer.unref();
  }

  close(): void {
    clearInterval(this.#timer);
  }

  /** Reads the registry; calls that come meanwhile share it. Keeps the old picture when Redis is away. */
  async refresh(): Promise<void> {
    this.#refreshing ??= this.#read().finally(() => {
      this.#refreshing = undefined;
    });
    return this.#refreshing;
  }

  /**
   * Undefined for a worker that was never heard of (its first job may come before its first
   * heartbeat), while the picture is too old to judge by, and when Redis has only just come back.
   */
  isAlive(workerId: string): boolean | undefined {
    if (!this.#isFresh()) return undefined;
    const alive = this.#aliveById.get(workerId);
    return alive === false && performance.now() < this.#trustedFromMs ? undefined : alive;
  }

  /** Whether a live worker takes from a known queue; undefined while the picture cannot be trusted. */
  isServed(queueName: string): boolean | undefined {
    if (!this.#isTrusted()) return undefined;
    const known = this.#workers.filter((worker) => worker.queueName === queueName);
    return known.length === 0 ? undefined : known.some(({ live }) => live);
  }

  /** Whether a stage is served; false while the picture is too old to judge by. */
  hasLive(stage: Stage): boolean {
    return this.#isFresh() && this.#workers.some((worker) => worker.stage === stage && worker.live);
  }

  liveWorkers(queueName: string): KnownWorker[] {
    return this.#workers.filter((worker) => worker.queueName === queueName && worker.live);
  }

  /**
   * The workers of a stage, one per queue: live ones first, then in the order of preference that
   * their stage has for its engines. The first one answers when no model is named.
   */
  workersOf(stage: Stage): KnownWorker[] {
    const byQueue = new Map<string, KnownWorker>();
    const sorted = this.#workers
      .filter((worker) => worker.stage === stage)
      .sort(
        (one, other) =>
          Number(other.live) - Number(one.live) ||
          rankOf(one) - rankOf(other) ||
          one.engine.localeCompare(other.engine) ||
          other.startedAtSeconds - one.startedAtSeconds,
      );
    for (const worker of sorted) {
      if (!byQueue.has(worker.queueName)) byQueue.set(worker.queueName, worker);
    }
    return [...byQueue.values()];
  }

  get aliases(): ReadonlyMap<string, string> {
    return this.#aliases;
  }

  /**
   * The queue for a model name, or for the stage's default when it is undefined. Throws
   * `model_not_found` with the known names, and `server_is_overloaded` when no worker that knows
   * it is alive.
   */
  async resolve(stage: Stage, model: string | undefined): Promise<Route> {
    const found = this.#find(stage, model);
    if (found?.worker.live) return found;
    await this.refresh(); // a worker may have come within the last second
    const again = this.#find(stage, model);
    if (again?.worker.live) return again;
    if (again || (model === undefined && this.workersOf(stage).length === 0)) {
      throw new VoiceError('server_is_overloaded', {
        message: `No ${stage}-worker${again ? ` for the model '${again.model}'` : ''} is running at the moment. Please try again shortly.`,
        retryAfterSeconds: 2,
      });
    }
    throw this.#unknownModel(stage, model);
  }

  /**
   * As `resolve`, for what can wait: a worker that is not alive now will do. Undefined when none was
   * heard of yet (of the stage, or for its default), and while the picture cannot be trusted. Throws
   * `model_not_found`.
   */
  async remembered(stage: Stage, model: string | undefined): Promise<Route | undefined> {
    const found = this.#find(stage, model);
    if (found) return found;
    await this.refresh();
    const again = this.#find(stage, model);
    if (again || model === undefined || this.workersOf(stage).length === 0) return again;
    if (!this.#isTrusted()) return undefined;
    throw this.#unknownModel(stage, model);
  }

  #isFresh(): boolean {
    return performance.now() - this.#refreshedAtMs <= STALE_MS;
  }

  #isTrusted(): boolean {
    return this.#isFresh() && performance.now() >= this.#trustedFromMs;
  }

  #unknownModel(stage: Stage, model: string | undefined): VoiceError {
    const known = this.workersOf(stage).flatMap((worker) => worker.models);
    return new VoiceError('model_not_found', {
      param: 'model',
      message: `The model \`${model}\` does not exist or you do not have access to it. Known here: ${[...new Set([...known, ...this.#aliases.keys()])].join(', ') || 'none'}.`,
    });
  }

  #find(stage: Stage, asked: string | undefined): Route | undefined {
    const wanted = asked ?? this.#options.defaults[stage];
    const workers = this.workersOf(stage);
    if (wanted === undefined) {
      const [worker] = workers;
      const [model] = worker?.models ?? [];
      return worker && model !== undefined ? { model, worker } : undefined;
    }
    const model = this.#aliases.get(wanted) ?? wanted;
    const worker = workers.find(({ models }) => models.includes(model));
    return worker && { model, worker };
  }

  async #read(): Promise<void> {
    try {
      this.#workers = await readWorkers(this.#redis);
      this.#aliveById = new Map(this.#workers.map(({ workerId, alive }) => [workerId, alive]));
      this.#refreshedAtMs = performance.now();
      if (this.#failed) this.#trustedFromMs = this.#refreshedAtMs + RECOVERY_MS;
      this.#failed = false;
    } catch (error) {
      this.#failed = true;
      this.#options.onError(error as Error);
    }
  }
}

/** A worker of an older version tells none. */
const rankOf = ({ engineRank = Number.MAX_SAFE_INTEGER }: KnownWorker): number => engineRank;

function splitPair(pair: string): [string, string] {
  const position = pair.indexOf('=');
  return [pair.slice(0, position).trim(), pair.slice(position + 1).trim()];
}
