import { inputBlobId, lineBodyBlobId, lineResultBlobId } from '@antiphon/shared/batches/batch-key';
import type { BatchRecord } from '@antiphon/shared/batches/batch-record';
import type { BlobStore } from '@antiphon/shared/storage/blob-store';
import type { GatewayContext } from '../gateway-context.ts';
import type { WrittenBatch } from './output-files.ts';

/** In a bucket each is a request: 50,000 one after the other took as long as half a batch. */
const DELETES_AT_ONCE = 16;

type ClearContext = Pick<GatewayContext, 'files' | 'fileBlobs' | 'logger'>;

/**
 * Deletes what lay between the lines of a batch that is over. Whoever has not written its files,
 * because that keeper died, deletes all that may be there: the input goes last, and tells that by
 * its being there. Single failures are left to the sweeper. False when the signal came first.
 */
export async function clearBatch(
  { files, fileBlobs, logger }: ClearContext,
  batch: BatchRecord,
  { written, signal }: { written: WrittenBatch | undefined; signal: AbortSignal },
): Promise<boolean> {
  const input = inputBlobId(batch.id);
  if (!written && !(await isThere(fileBlobs, input))) return true;
  const blobIds = written?.blobIds.values() ?? possibleBlobIds(batch);
  const errors = await deleteAll(fileBlobs, blobIds, signal);
  if (written) await expireSounds(files, written).catch((error: unknown) => errors.push(error));
  if (signal.aborted) return false;
  errors.push(...(await deleteAll(fileBlobs, [input].values(), signal)));
  const [err] = errors;
  if (err) {
    const facts = { err, batchId: batch.id, count: errors.length };
    logger.warn(facts, 'what a batch leaves stays for longer');
  }
  return !signal.aborted;
}

/** Resolves with what failed. */
async function deleteAll(
  blobs: BlobStore,
  left: IterableIterator<string>,
  signal: AbortSignal,
): Promise<unknown[]> {
  const errors: unknown[] = [];
  const deleteSome = async () => {
    for (const blobId of left) {
      if (signal.aborted) return;
      await blobs.delete(blobId).catch((error: unknown) => errors.push(error));
    }
  };
  await Promise.all(Array.from({ length: DELETES_AT_ONCE }, deleteSome));
  return errors;
}

function* possibleBlobIds({ id, endpoint, total }: BatchRecord): Generator<string, undefined> {
  for (let line = 0; line < total; line += 1) {
    yield lineResultBlobId(id, line);
    if (endpoint === '/v1/chat/completions') yield lineBodyBlobId(id, line);
  }
}

/** Until now they were to outlive the batch. */
async function expireSounds(
  files: ClearContext['files'],
  { files: { outputFile }, soundFileIds }: WrittenBatch,
): Promise<void> {
  const expiresAtSeconds = outputFile?.expiresAtSeconds;
  if (expiresAtSeconds !== undefined) await files.expireAt(soundFileIds, expiresAtSeconds);
}

async function isThere(blobs: BlobStore, blobId: string): Promise<boolean> {
  const content = await blobs.get(blobId);
  // Another keeper may delete it before it is opened.
  content?.once('error', () => undefined).destroy();
  return content !== undefined;
}
