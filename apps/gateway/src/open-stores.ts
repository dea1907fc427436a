import { BatchStore } from '@antiphon/shared/batches/batch-store';
import { FileIndex } from '@antiphon/shared/files/file-index';
import { openBlobStore } from '@antiphon/shared/storage/open-blob-store';
import { SpokenAnswerStore } from '@antiphon/shared/storage/spoken-answer-store';
import { TranscriptStore } from '@antiphon/shared/storage/transcript-store';
import type { Redis } from 'ioredis';
import type { GatewayConfig } from './config.ts';
import type { GatewayContext } from './gateway-context.ts';

type Stores = Pick<
  GatewayContext,
  'blobs' | 'transcripts' | 'spokenAnswers' | 'files' | 'fileBlobs' | 'batches'
>;

/** What outlives streams: on disk or in a bucket, and in the queues' Redis. */
export async function openStores(redis: Redis, config: GatewayConfig): Promise<Stores> {
  return {
    blobs: await openBlobStore(config, 'blobs'),
    transcripts: new TranscriptStore(redis),
    spokenAnswers: new SpokenAnswerStore(redis),
    files: new FileIndex(redis),
    fileBlobs: await openBlobStore(config, 'files'),
    batches: new BatchStore(redis),
  };
}
