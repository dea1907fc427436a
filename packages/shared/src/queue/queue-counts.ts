import type { Redis } from 'ioredis';

/** What lies in one queue. */
export interface QueueCounts {
  queueName: string;
  /** Jobs that a worker could take now. */
  waiting: number;
  active: number;
  /** The last ones that failed for good; at most 100 are kept. */
  failed: number;
  /** Jobs that were ever put into it. */
  added: number;
}

/** BullMQ's names. */
const key = (queueName: string, part: string): string => `bull:${queueName}:${part}`;

/** The counts of these queues, in their order, in one round trip. Rejects with ioredis' errors. */
export async function readQueueCounts(
  redis: Redis,
  queueNames: readonly string[],
): Promise<QueueCounts[]> {
  return Promise.all(
    queueNames.map(async (queueName) => {
      const [waiting, prioritized, active, failed, added] = await Promise.all([
        redis.llen(key(queueName, 'wait')),
        redis.zcard(key(queueName, 'prioritized')),
        redis.llen(key(queueName, 'active')),
        redis.zcard(key(queueName, 'failed')),
        redis.get(key(queueName, 'id')),
      ]);
      return { queueName, waiting: waiting + prioritized, active, failed, added: Number(added) };
    }),
  );
}

/**
 * The place of a job in its queue, 1 for the next one; undefined when it does not wait there.
 * Workers take from the right end of `wait`, and only then from `prioritized`.
 */
export async function queuePosition(
  redis: Redis,
  queueName: string,
  jobId: string,
): Promise<number | undefined> {
  const [index, length, rank] = await Promise.all([
    redis.lpos(key(queueName, 'wait'), jobId),
    redis.llen(key(queueName, 'wait')),
    redis.zrank(key(queueName, 'prioritized'), jobId),
  ]);
  if (index !== null) return length - index;
  return rank === null ? undefined : length + rank + 1;
}
