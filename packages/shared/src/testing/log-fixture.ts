import { openRedis } from '../queue/redis.ts';
import { StreamLog, type StreamOpening } from '../streams/stream-log.ts';
import type { StreamProducer } from '../streams/stream-producer.ts';
import type { ScriptedRedis } from '../streams/stream-scripts.ts';
import { StreamSubscriber } from '../streams/stream-subscriber.ts';

/** What the tests of a log open their streams with. */
export const OPENING: StreamOpening = {
  tenantId: 'default',
  gatewayId: 'g1',
  kind: 'chat',
  model: 'm',
  queueName: 'q',
  maxLogBytes: 1000,
  ttlMs: 60_000,
  logTtlMs: 30_000,
};
export const textDelta = (content: string) => ({
  type: 'text-delta' as const,
  bytes: Buffer.from(content),
});
export const TEXT_END = { type: 'text-end' as const, finishReason: 'stop' as const };

/** A log and its subscriber on a test's Redis. */
export interface LogFixture {
  redis: ScriptedRedis;
  subscriberRedis: ScriptedRedis;
  log: StreamLog;
  subscriber: StreamSubscriber;
  /** A stream whose chat job, or another producer, was claimed. */
  openProducer(
    options?: Partial<StreamOpening>,
    producer?: string,
  ): Promise<{
    streamId: string;
    claim: Awaited<ReturnType<StreamLog['claim']>>;
    producer: StreamProducer;
  }>;
  close(): void;
}

export function openLogFixture(redisUrl: string): LogFixture {
  const onError = () => undefined;
  const redis = openRedis(redisUrl, { role: 'patient', onError });
  const subscriberRedis = openRedis(redisUrl, { role: 'subscriber', onError });
  const log = new StreamLog(redis);
  const subscriber = new StreamSubscriber(subscriberRedis, log);
  return {
    ...{ redis, subscriberRedis, log, subscriber },
    async openProducer(options = {}, name = 'chat') {
      const streamId = await log.open({ ...OPENING, ...options });
      const claim = await log.claim(streamId, name, 'w1');
      return { streamId, claim, producer: log.producer(streamId, name, claim) };
    },
    close() {
      subscriber.close();
      redis.disconnect();
      subscriberRedis.disconnect();
    },
  };
}
