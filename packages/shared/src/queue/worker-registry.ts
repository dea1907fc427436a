import type { Redis } from 'ioredis';
import { z } from 'zod';
import { STAGES } from '../jobs/job-catalog.ts';
import { publishControl } from '../streams/control-channel.ts';
import { redisNowMs } from '../streams/redis-clock.ts';
import { WORKERS_KEY, workerKey } from '../streams/stream-key.ts';

export const HEARTBEAT_MS = 2000;
/** A worker that was not heard of for so long is taken for dead. */
export const LIVE_MS = 6000;
/** Models of a dead worker are answered 503, not 404, for so long. */
const REMEMBERED_MS = 86_400_000;

const voiceSchema = z.object({
  id: z.string(),
  name: z.string(),
  language: z.string().optional(),
});

const announcementSchema = z.object({
  version: z.literal(1),
  workerId: z.string(),
  stage: z.enum(STAGES),
  engine: z.string(),
  /** Its place among the engines of its stage, from 0: the first answers when no model is named. */
  engineRank: z.number().optional(),
  queueName: z.string(),
  /** Names clients may ask for; the first is the engine's default. */
  models: z.array(z.string()),
  /** tts only. */
  voices: z.union([z.array(voiceSchema), z.literal('any')]).optional(),
  parallelPhrases: z.number().optional(),
  maxPhraseCharacters: z.number().optional(),
  /** stt only: ISO 639-1 codes. */
  languages: z.union([z.array(z.string()), z.literal('any')]).optional(),
  concurrency: z.number(),
  /** Ends its running jobs and takes no more. */
  draining: z.boolean().optional(),
  /** Unix seconds: `created` in the model list. */
  startedAtSeconds: z.number(),
});

/** What a worker tells the gateways about itself. */
export type WorkerAnnouncement = z.output<typeof announcementSchema>;

export interface KnownWorker extends WorkerAnnouncement {
  /** Its process runs. */
  alive: boolean;
  /** It also takes jobs. */
  live: boolean;
}

/** Announces a worker every 2 s until `leave`. Only a warm engine may be announced. */
export class WorkerHeartbeat {
  readonly #redis: Redis;
  readonly #onError: (error: Error) => void;
  readonly #announcement: () => WorkerAnnouncement;
  #timer: NodeJS.Timeout | undefined;
  #draining = false;

  constructor(
    redis: Redis,
    announcement: () => WorkerAnnouncement,
    onError: (error: Error) => void,
  ) {
    this.#redis = redis;
    this.#announcement = announcement;
    this.#onError = onError;
  }

  async start(): Promise<void> {
    await this.#beat();
    await publishControl(this.#redis, { type: 'worker-change' });
    this.#timer = setInterval(() => {
      this.#beat().catch(this.#onError);
    }, HEARTBEAT_MS);
  }

  /** Tells the gateways that this worker only ends what it has. */
  async drain(): Promise<void> {
    this.#draining = true;
    await this.#beat();
    await publishControl(this.#redis, { type: 'worker-change' });
  }

  /** Tells the gateways at once that it is gone; its models stay remembered. */
  async leave(): Promise<void> {
    clearInterval(this.#timer);
    const nowMs = await redisNowMs(this.#redis);
    await this.#redis.zadd(WORKERS_KEY, nowMs - LIVE_MS, this.#announcement().workerId);
    await publishControl(this.#redis, { type: 'worker-change' });
  }

  async #beat(): Promise<void> {
    const announcement = {
      ...this.#announcement(),
      ...(this.#draining ? { draining: true } : {}),
    };
    const nowMs = await redisNowMs(this.#redis);
    await this.#redis
      .multi()
      .set(workerKey(announcement.workerId), JSON.stringify(announcement), 'PX', REMEMBERED_MS)
      .zadd(WORKERS_KEY, nowMs, announcement.workerId)
      .exec();
  }
}

/** All workers of the last 24 h, and whether each is alive. */
export async function readWorkers(redis: Redis): Promise<KnownWorker[]> {
  const nowMs = await redisNowMs(redis);
  await redis.zremrangebyscore(WORKERS_KEY, '-inf', nowMs - REMEMBERED_MS);
  const rows = await redis.zrange(
    WORKERS_KEY,
    nowMs - REMEMBERED_MS,
    '+inf',
    'BYSCORE',
    'WITHSCORES',
  );
  const seen = pairs(rows);
  if (seen.length === 0) return [];
  const bodies = await redis.mget(seen.map(([workerId]) => workerKey(workerId)));
  return seen.flatMap(([, seenMs], position) => {
    // One of another version is passed over: a newer worker answers a newer gateway.
    const parsed = announcementSchema.safeParse(JSON.parse(bodies[position] ?? 'null'));
    if (!parsed.success) return [];
    const alive = nowMs - seenMs < LIVE_MS;
    return [{ ...parsed.data, alive, live: alive && parsed.data.draining !== true }];
  });
}

/** RESP2 gives a flat list, RESP3 pairs. */
function pairs(rows: unknown[]): [string, number][] {
  const flat = rows.flat() as (string | number)[];
  const found: [string, number][] = [];
  for (let position = 0; position + 1 < flat.length; position += 2) {
    found.push([String(flat[position]), Number(flat[position + 1])]);
  }
  return found;
}
