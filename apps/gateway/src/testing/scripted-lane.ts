import type { LineContext, LineHandler, LineWork } from '@antiphon/shared/batches/line-handler';
import { LineWorker } from '@antiphon/shared/batches/line-worker';
import { batchQueueName } from '@antiphon/shared/jobs/batch-line-job';
import { queueName, type Stage } from '@antiphon/shared/jobs/job-catalog';
import type { Announced } from '@antiphon/shared/queue/announcer';
import { EngineShare } from '@antiphon/shared/queue/engine-share';
import { createWorkerId } from '@antiphon/shared/queue/job-worker';
import { openRedis, whenReady } from '@antiphon/shared/queue/redis';
import { WorkerHeartbeat } from '@antiphon/shared/queue/worker-registry';
import { createLogger } from '@antiphon/shared/runtime/logger';
import { Registry } from 'prom-client';
import type { GatewayContext } from '../gateway-context.ts';

export interface ScriptedLaneOptions<Kind extends LineWork> {
  redisUrl: string;
  /** Where the lines' stores are. */
  context: Pick<GatewayContext, 'batches' | 'files' | 'fileBlobs'>;
  kind: Kind;
  /** 'scripted' unless told. */
  engine?: string;
  announced: Announced;
  handler: LineHandler<Kind>;
  concurrency?: number;
  /** False: announced as live, but takes no line yet. */
  takesLines?: boolean;
}

export interface ScriptedLane<Kind extends LineWork> {
  /** What came from the queue so far; a line that ran twice is there twice. */
  jobs: LineContext<Kind>['job'][];
  takeLines(): Promise<void>;
  /** Is heard of no more, and goes on with its lines. */
  leave(): Promise<void>;
  close(): Promise<void>;
}

const STAGES: Record<LineWork, Stage> = { speech: 'tts', transcription: 'stt', chat: 'llm' };

/** The lane of a worker in the test's process: queue and results are real, the "engine" is the test's. */
export async function startScriptedLane<Kind extends LineWork>({
  redisUrl,
  context,
  kind,
  engine = 'scripted',
  announced,
  handler,
  concurrency = 4,
  takesLines = true,
}: ScriptedLaneOptions<Kind>): Promise<ScriptedLane<Kind>> {
  const ignore = () => undefined; // a test that stops Redis sees its connections break
  const queueRedis = openRedis(redisUrl, { role: 'patient', onError: ignore });
  const subscriber = openRedis(redisUrl, { role: 'subscriber', onError: ignore });
  await Promise.all([queueRedis, subscriber].map((redis) => whenReady(redis)));
  const stage = STAGES[kind];
  const jobs: LineContext<Kind>['job'][] = [];
  const worker = new LineWorker<Kind>({
    ...{ kind, queueName: batchQueueName(stage, engine), queueRedis, subscriber },
    ...{ batches: context.batches, files: context.files, fileBlobs: context.fileBlobs },
    ...{ lockDurationMs: 2000, stalledIntervalMs: 1000, registry: new Registry() },
    share: new EngineShare({ concurrency, sharePercent: 100 }),
    logger: createLogger('scripted-lane', 'silent'),
    handler: async (line) => {
      jobs.push(line.job);
      return handler(line);
    },
  });
  const identity = {
    ...{ version: 1 as const, workerId: createWorkerId(stage), stage, engine },
    ...{ queueName: queueName(stage, engine), concurrency, startedAtSeconds: 1 },
  };
  const heartbeat = new WorkerHeartbeat(queueRedis, () => ({ ...identity, ...announced }), ignore);
  if (takesLines) await worker.start();
  await heartbeat.start();
  let closed = false;
  return {
    jobs,
    takeLines: () => worker.start(),
    leave: () => heartbeat.leave(),
    async close() {
      if (closed) return;
      closed = true;
      await heartbeat.leave().catch(ignore);
      await worker.close(0);
      for (const redis of [queueRedis, subscriber]) redis.disconnect();
    },
  };
}
