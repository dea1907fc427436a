import type { Logger } from '@antiphon/shared/runtime/logger';
import type { Redis } from 'ioredis';
import type { GatewayConfig } from '../config.ts';
import type { GatewayContext } from '../gateway-context.ts';
import { openBatchWebhooks } from '../webhooks/batch-webhooks.ts';
import { BatchSubscriber } from './batch-subscriber.ts';

type BatchNews = Pick<GatewayContext, 'batchSubscriber' | 'webhooks'>;

/** What hears of batches, and what tells of their ends; `close` is for both. */
export function openBatchNews(
  config: GatewayConfig,
  connections: { queue: Redis; batches: Redis },
  logger: Logger,
): { news: BatchNews; closeNews: () => Promise<void> } {
  const batchSubscriber = new BatchSubscriber(connections.batches);
  const webhooks = openBatchWebhooks({ config, redis: connections.queue, logger });
  return {
    news: { batchSubscriber, webhooks },
    async closeNews() {
      batchSubscriber.close();
      await webhooks.close();
    },
  };
}
