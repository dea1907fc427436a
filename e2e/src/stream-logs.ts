import { logViolations } from '@antiphon/testing/invariant';
import type { Redis } from 'ioredis';

const stateKey = (streamId: string): string => `antiphon:{${streamId}}:state`;
const idOf = (key: string): string => /\{(.*)\}/.exec(key)?.[1] ?? '';

/** Ids of the streams that have not ended. */
export async function openStreams(redis: Redis): Promise<string[]> {
  const ids = (await redis.keys(stateKey('*'))).map(idOf);
  const statuses = await Promise.all(ids.map((id) => redis.hget(stateKey(id), 'status')));
  return ids.filter((_, index) => statuses[index] === 'open');
}

/**
 * What is wrong with the logs of ended streams, a line each. `whole`: nobody took entries from
 * them, so that they begin with number 1, as a resumable stream's log does.
 */
export async function brokenLogs(redis: Redis, { whole = false } = {}): Promise<string[]> {
  const broken: string[] = [];
  for (const key of await redis.keys('antiphon:{*}:log')) {
    const [status, entries] = await Promise.all([
      redis.hget(stateKey(idOf(key)), 'status'),
      redis.xrange(key, '-', '+'),
    ]);
    const ended = status !== 'open' && entries.length > 0;
    const found = logViolations(entries, { ended, whole });
    if (found.length > 0) broken.push(`${key}: ${found.join('; ')}`);
  }
  return broken;
}
