import { join } from 'node:path';
import { BatchStore } from '@antiphon/shared/batches/batch-store';
import { FileIndex } from '@antiphon/shared/files/file-index';
import { openDiskBlobStore } from '@antiphon/shared/storage/blob-store';
import { SpokenAnswerStore } from '@antiphon/shared/storage/spoken-answer-store';
import { TranscriptStore } from '@antiphon/shared/storage/transcript-store';
import type { Redis } from 'ioredis';
import type { GatewayConfig } from './config.ts';
import type { GatewayContext } from './gateway-context.ts';

type Stores = Pick<
  GatewayContext,
  'blobs' | 'transcripts' | 'spokenAnswers' | 'files' | 'fileBlobs' | 'batches'
>;

/** What outlives streams: on disk, and in the queues' Redis. */
export async function openStores(redis: Redis, config: GatewayConfig): Promise<Stores> {
  return {
    blobs: await openDiskBlobStore(join(config.DATA_DIR, 'blobs')),
    transcripts: new TranscriptStore(redis),
    spokenAnswers: new SpokenAnswerStore(redis),
    files: new FileIndex(redis),
    fileBlobs: await openDiskBlobStore(join(config.DATA_DIR, 'files')),
    batches: new BatchStore(redis),
  };
}
