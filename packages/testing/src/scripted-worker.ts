import {
  queueName,
  type JobData,
  type JobKind,
  JOB_CATALOG,
} from '@antiphon/shared/jobs/job-catalog';
import type { Announced } from '@antiphon/shared/queue/announcer';
import { type JobHandler, JobWorker, createWorkerId } from '@antiphon/shared/queue/job-worker';
import { openRedis, whenReady } from '@antiphon/shared/queue/redis';
import { WorkerHeartbeat } from '@antiphon/shared/queue/worker-registry';
import { createLogger } from '@antiphon/shared/runtime/logger';
import { StreamLog } from '@antiphon/shared/streams/stream-log';

export interface ScriptedWorkerOptions<Kind extends JobKind> {
  redisUrl: string;
  kind: Kind;
  /** What it tells the gateways: models, voices, languages. */
  announced: Announced;
  /** The "engine": real jobs come from a real queue, what is done with them is the test's. */
  handler: JobHandler<Kind>;
  engine?: string;
  /** Its place among those of its stage; after all that have one unless told. */
  engineRank?: number;
  concurrency?: number;
  /** False: announced as live, but takes no job. */
  takesJobs?: boolean;
}

/** A worker process' insides in the test's process: heartbeat, queue worker and streams are real. */
export interface ScriptedWorker<Kind extends JobKind> {
  queueName: string;
  workerId: string;
  /** What came from the queue so far. */
  jobs: JobData[Kind][];
  /** Begins to take jobs, where `takesJobs` was false. */
  takeJobs(): Promise<void>;
  close(): Promise<void>;
}

/** Resolves when the worker is announced and hears its queue. */
export async function startScriptedWorker<Kind extends JobKind>({
  redisUrl,
  kind,
  announced,
  handler,
  engine = 'scripted',
  engineRank,
  concurrency = 4,
  takesJobs = true,
}: ScriptedWorkerOptions<Kind>): Promise<ScriptedWorker<Kind>> {
  const ignore = () => undefined; // a test that stops Redis sees its connections break
  const queueRedis = openRedis(redisUrl, { role: 'patient', onError: ignore });
  const streamRedis = openRedis(redisUrl, { role: 'patient', onError: ignore });
  const subscriber = openRedis(redisUrl, { role: 'subscriber', onError: ignore });
  const connections = [queueRedis, streamRedis, subscriber];
  await Promise.all(connections.map((redis) => whenReady(redis)));
  const { stage } = JOB_CATALOG[kind];
  const identity = {
    version: 1 as const,
    workerId: createWorkerId(stage),
    stage,
    engine,
    ...(engineRank === undefined ? {} : { engineRank }),
    queueName: queueName(stage, engine),
    concurrency,
    startedAtSeconds: Math.floor(Date.now() / 1000),
  };
  const jobs: JobData[Kind][] = [];
  const worker = new JobWorker<Kind>({
    kind,
    queueName: identity.queueName,
    workerId: identity.workerId,
    concurrency,
    lockDurationMs: 2000,
    stalledIntervalMs: 1000,
    handler: async (context) => {
      jobs.push(context.job);
      await handler(context);
    },
    log: new StreamLog(streamRedis),
    ...{ queueRedis, streamRedis, subscriber },
    logger: createLogger('scripted-worker', 'silent'),
  });
  const heartbeat = new WorkerHeartbeat(streamRedis, () => ({ ...identity, ...announced }), ignore);
  if (takesJobs) await worker.start();
  await heartbeat.start();
  let closed = false;
  return {
    queueName: identity.queueName,
    workerId: identity.workerId,
    jobs,
    takeJobs: () => worker.start(),
    async close() {
      if (closed) return;
      closed = true;
      await heartbeat.leave().catch(ignore);
      await worker.close(0);
      for (const redis of connections) redis.disconnect();
    },
  };
}
