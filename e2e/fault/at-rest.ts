import { expectUnbroken } from '@antiphon/testing/invariant';
import type { OpenAIServer } from '@antiphon/testing/openai-server';
import { until } from '@antiphon/testing/until';
import type { Redis } from 'ioredis';
import { brokenLogs, openStreams } from '../src/stream-logs.ts';
import type { AppProcess } from '../src/stack.ts';
import { PROMPT_CANARY } from './seen-answer.ts';

const JOB = /^bull:([^:]+):(s[0-9a-f]{32}(?:-t?\d+)?)$/;

export interface Resting {
  redis: Redis;
  upstreams: readonly OpenAIServer[];
  processes: readonly AppProcess[];
  /** Those that the test ended itself. */
  ended: ReadonlySet<AppProcess>;
  /** For what is left to go; a killed gateway's streams are cancelled within 15 s. */
  waitMs?: number;
}

/** What must hold after every test: nothing runs, nothing stays, nobody died, nothing was told. */
export async function untilAtRest({
  redis,
  upstreams,
  processes,
  ended,
  waitMs = 15_000,
}: Resting): Promise<void> {
  for (const upstream of upstreams) {
    await until(() => upstream.activeRequests() === 0, { what: 'no upstream call' });
    upstream.resetScripts();
  }
  await until(async () => (await activeJobs(redis)) === 0, { what: 'no active job' });
  let left: string[] = [];
  const isEmpty = async () => (left = await leftovers(redis)).length === 0;
  await until(isEmpty, { timeoutMs: waitMs }).catch(() => undefined); // told below
  const found = [...left, ...processes.flatMap((process) => faultsOf(process, ended.has(process)))];
  if (found.length > 0) throw new Error(`after the test: ${found.join('\n')}`);
  expectUnbroken(await brokenLogs(redis));
}

async function activeJobs(redis: Redis): Promise<number> {
  const queues = await redis.keys('bull:*:active');
  const lengths = await Promise.all(queues.map((key) => redis.llen(key)));
  return lengths.reduce((sum, length) => sum + length, 0);
}

async function leftovers(redis: Redis): Promise<string[]> {
  return [
    ...(await keysForEver(redis)).map((key) => `key without an end: ${key}`),
    ...(await openStreams(redis)).map((streamId) => `open stream: ${streamId}`),
  ];
}

async function keysForEver(redis: Redis): Promise<string[]> {
  const keys = await redis.keys('*');
  const isKept = await Promise.all(
    keys.map(
      async (key) => isBounded(key) || (await redis.ttl(key)) !== -1 || isFailed(redis, key),
    ),
  );
  return keys.filter((_, index) => !isKept[index]);
}

/** Whether it is a job that BullMQ keeps among the failed ones, 100 at most: any other has leaked. */
async function isFailed(redis: Redis, key: string): Promise<boolean> {
  const [, queue, jobId] = JOB.exec(key) ?? [];
  if (queue === undefined || jobId === undefined) return false;
  return (await redis.zscore(`bull:${queue}:failed`, jobId)) !== null;
}

/**
 * BullMQ's own, of which there is one for each queue, the workers' list, the installation's name, and
 * what is known of batches and files, which stay as long as their owner wants.
 */
function isBounded(key: string): boolean {
  return (
    /^bull:[^:]+:(meta|id|events|failed|marker|stalled|stalled-check|pc|prioritized)$/.test(key) ||
    key === 'antiphon:workers' ||
    key === 'antiphon:installation' ||
    /^antiphon:(files?:|batch:\{batch_[0-9a-f]+\}$|batches:|tenant:[^:]+:(files|batches))/.test(key)
  );
}

function faultsOf({ name, child, output }: AppProcess, isEnded: boolean): string[] {
  const { exitCode, signalCode } = child;
  const isAlive = exitCode === null && signalCode === null;
  return [
    ...(output().includes(PROMPT_CANARY) ? [`${name} logs prompts`] : []),
    ...(isAlive || isEnded
      ? []
      : [`${name} ended (${exitCode ?? signalCode}): ${output().slice(-2000)}`]),
  ];
}
