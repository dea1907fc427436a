import type { Redis } from 'ioredis';

/** Redis' clock, ms: processes on several hosts agree on it. */
export async function redisNowMs(redis: Redis): Promise<number> {
  const [seconds, microseconds] = await redis.time();
  return Number(seconds) * 1000 + Math.floor(Number(microseconds) / 1000);
}
