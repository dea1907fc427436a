import { type Readable, addAbortSignal } from 'node:stream';
import type { BatchFault } from '@antiphon/shared/batches/batch-fault';
import { inputBlobId } from '@antiphon/shared/batches/batch-key';
import type { BatchRecord } from '@antiphon/shared/batches/batch-record';
import type { BlobStore } from '@antiphon/shared/storage/blob-store';

/** What a batch reads is not there: a try later finds it no more than this one. */
export class InputGone extends Error {}

/**
 * Keeps what the input file has for as long as the batch goes on: its client may delete the file,
 * and it may expire. False when it is gone already. Rejects when the signal comes before the end.
 */
export async function keepInput(
  blobs: BlobStore,
  batch: BatchRecord,
  signal: AbortSignal,
): Promise<boolean> {
  const source = await blobs.get(batch.inputFileId);
  if (!source) return false;
  await blobs.put(addAbortSignal(signal, source), inputBlobId(batch.id));
  return true;
}

/** What is kept, from an offset on. Throws InputGone. */
export async function openInput(
  blobs: BlobStore,
  blobId: string,
  offset: number,
): Promise<Readable> {
  const range = offset === 0 ? undefined : { start: offset, end: Number.MAX_SAFE_INTEGER };
  const source = await blobs.get(blobId, range);
  if (!source) throw new InputGone(`the blob ${blobId} is gone`);
  return source;
}

export const inputFault = ({ inputFileId }: BatchRecord, message?: string): BatchFault => ({
  ...{ code: 'file_not_found', param: null, line: null },
  message: message ?? `The file ${inputFileId} is not there any more.`,
});
