import type { Logger } from '@antiphon/shared/runtime/logger';
import type { Redis } from 'ioredis';
import type { GatewayContext } from './gateway-context.ts';
import { OWNER_BLOB_ID, StoreOwnership } from './store-owner.ts';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
/** Of blobs that pass through: longer than any upload is read. */
const BLOB_AGE_MS = HOUR_MS;
/** Of bytes that no record knows: longer than any file takes to be written. */
const ORPHAN_AGE_MS = 24 * HOUR_MS;
/** Of what batches keep between their lines: longer than any batch is open. */
const LINE_AGE_MS = 8 * 24 * HOUR_MS;
const SWEEP_MS = 15 * MINUTE_MS;
/** Each of which looks at every file there is. */
const ORPHAN_SWEEP_MS = 6 * HOUR_MS;

/** Files that are forgotten at a time. */
const PAGE = 100;

const isOfBatch = (blobId: string): boolean => /^batch_.*-(?:body|result)$/.test(blobId);

type Stores = Pick<GatewayContext, 'blobs' | 'files' | 'fileBlobs'>;

/**
 * Deletes what has expired and what processes left that died. Every gateway does; twice is harmless.
 * `redis`: where the files' records are. Returns the way to stop it.
 */
export function startSweeper(stores: Stores, redis: Redis, logger: Logger): () => void {
  const onError = (error: unknown) => logger.warn({ err: error }, 'sweeper');
  const ownership = new StoreOwnership(redis, stores.fileBlobs, logger);
  ownership.isOurs().catch(onError);
  const timers = [
    setInterval(() => {
      stores.blobs.sweep(BLOB_AGE_MS).catch(onError);
      sweepExpired(stores).catch(onError);
    }, SWEEP_MS),
    setInterval(() => {
      sweepOwnOrphans(stores, ownership).catch(onError);
    }, ORPHAN_SWEEP_MS),
  ];
  for (const timer of timers) timer.unref();
  return () => {
    for (const timer of timers) clearInterval(timer);
  };
}

/** None while the store is another installation's. */
export async function sweepOwnOrphans(stores: Stores, ownership: StoreOwnership): Promise<void> {
  if (await ownership.isOurs()) await sweepOrphans(stores);
}

/** Nobody sees them any more; a gateway that dies in between leaves orphans. */
export async function sweepExpired({ files, fileBlobs }: Stores): Promise<void> {
  let blobIds: string[];
  do {
    blobIds = await files.takeExpired(PAGE);
    for (const blobId of blobIds) await fileBlobs.delete(blobId);
  } while (blobIds.length === PAGE);
}

/** Bytes without a record: what was uploaded, or deleted, by a process that died meanwhile. */
export async function sweepOrphans({ files, fileBlobs }: Stores): Promise<void> {
  const isKept = async (blobId: string) =>
    isOfBatch(blobId) || blobId === OWNER_BLOB_ID || (await files.hasBlob(blobId));
  await fileBlobs.sweep(ORPHAN_AGE_MS, isKept);
  await fileBlobs.sweep(LINE_AGE_MS, (blobId) => !isOfBatch(blobId));
}
