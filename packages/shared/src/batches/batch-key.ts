import { randomBytes } from 'node:crypto';

/** The braces keep a batch's keys in one slot of a Redis cluster. */
export const batchKey = (batchId: string): string => `antiphon:batch:{${batchId}}`;
/** Hash: number of a line → its result, until the batch has its files. */
export const lineResultsKey = (batchId: string): string => `antiphon:batch:{${batchId}}:results`;
/** Told of each change: lines that have ended, and the status. */
export const batchChannel = (batchId: string): string => batchKey(batchId);

/** Sorted set: a tenant's batches by the order in which they came. */
export const tenantBatchesKey = (tenantId: string): string => `antiphon:tenant:${tenantId}:batches`;
/** Sorted set: batches that are not over, by when their keeper was last seen (ms, Redis' clock). */
export const OPEN_BATCHES_KEY = 'antiphon:batches:open';
/** Counts batches: their order. */
export const BATCH_SEQUENCE_KEY = 'antiphon:batches:sequence';

export const createBatchId = (): string => `batch_${randomBytes(16).toString('hex')}`;

/** Of the sound of a line: whichever run makes it, it is the same file. */
export const lineFileId = (batchId: string, line: number): string =>
  `file-${batchId.slice('batch_'.length)}-${line}`;
/** Of the files that a batch ends with. */
export const outputFileId = (batchId: string): string =>
  `file-${batchId.slice('batch_'.length)}-output`;
export const errorFileId = (batchId: string): string =>
  `file-${batchId.slice('batch_'.length)}-errors`;
/**
 * Blobs of the files' store that are no files: what the batch reads whatever becomes of its input
 * file, a line's body, and a result too large for Redis.
 */
export const inputBlobId = (batchId: string): string => `${batchId}-input-body`;
export const lineBodyBlobId = (batchId: string, line: number): string => `${batchId}-${line}-body`;
export const lineResultBlobId = (batchId: string, line: number): string =>
  `${batchId}-${line}-result`;
