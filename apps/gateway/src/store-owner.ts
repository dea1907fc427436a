import { randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import type { Logger } from '@antiphon/shared/runtime/logger';
import type { BlobStore } from '@antiphon/shared/storage/blob-store';
import type { Redis } from 'ioredis';

/** Which installation this is; for as long as its Redis remembers. */
const INSTALLATION_KEY = 'antiphon:installation';
/** The same in the store of files: the first that comes writes it. */
export const OWNER_BLOB_ID = 'installation';

const FOREIGN = `The store of files belongs to another installation: what no record here knows is not swept. Give each its own DATA_DIR or S3_PREFIX; after a Redis that was lost for good delete '${OWNER_BLOB_ID}' in files/.`;

/** Whose the store of files is; tells once when it is another installation's. */
export class StoreOwnership {
  readonly #redis: Redis;
  readonly #fileBlobs: BlobStore;
  readonly #logger: Pick<Logger, 'warn'>;
  #told = false;

  constructor(redis: Redis, fileBlobs: BlobStore, logger: Pick<Logger, 'warn'>) {
    this.#redis = redis;
    this.#fileBlobs = fileBlobs;
    this.#logger = logger;
  }

  /** Rejects with ioredis' errors, and as the store does. */
  async isOurs(): Promise<boolean> {
    if (await ownsStore(this.#redis, this.#fileBlobs)) return true;
    if (!this.#told) this.#logger.warn(FOREIGN);
    this.#told = true;
    return false;
  }
}

/**
 * Whether the store of files is this installation's. What another one stores (a bucket that two
 * share, a folder with another Redis than yesterday's) is unknown here, and no orphan.
 */
async function ownsStore(redis: Redis, fileBlobs: BlobStore): Promise<boolean> {
  await redis.set(INSTALLATION_KEY, randomUUID(), 'NX');
  const installation = await redis.get(INSTALLATION_KEY);
  if (installation === null) return false;
  const owner = await readOwner(fileBlobs);
  if (owner !== undefined) return owner === installation;
  await fileBlobs.put(Readable.from([installation]), OWNER_BLOB_ID);
  // Another one may have come at the same moment: the last to write has it.
  return (await readOwner(fileBlobs)) === installation;
}

async function readOwner(fileBlobs: BlobStore): Promise<string | undefined> {
  const content = await fileBlobs.get(OWNER_BLOB_ID);
  return content && text(content);
}
