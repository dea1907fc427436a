import type { Readable } from 'node:stream';
import { inputBlobId } from '@antiphon/shared/batches/batch-key';
import type { BatchRecord } from '@antiphon/shared/batches/batch-record';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { BlobStore } from '@antiphon/shared/storage/blob-store';

/**
 * Keeps what the input file has for as long as the batch goes on: its client may delete the file,
 * and it may expire. False when it is gone already.
 */
export async function keepInput(blobs: BlobStore, batch: BatchRecord): Promise<boolean> {
  const source = await blobs.get(batch.inputFileId);
  if (!source) return false;
  await blobs.put(source, inputBlobId(batch.id));
  return true;
}

/** What is kept, from an offset on. Throws `internal_error` when it is not there. */
export async function openInput(blobs: BlobStore, blobId: string, offset: number) {
  const range = offset === 0 ? undefined : { start: offset, end: Number.MAX_SAFE_INTEGER };
  const source: Readable | undefined = await blobs.get(blobId, range);
  if (!source) throw new VoiceError('internal_error', { cause: `the blob ${blobId} is gone` });
  return source;
}
