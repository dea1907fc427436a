import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import type { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';

/** Bytes that are too large for Redis: uploads and large request bodies. */
export interface BlobStore {
  /** Writes to the end of `source`; nothing is left when it fails. */
  put(source: Readable | Transform): Promise<{ blobId: string; sizeBytes: number }>;
  /** Undefined when it is unknown. */
  get(blobId: string): Promise<Readable | undefined>;
  /** A local file with the content, for programs that need one. Undefined when it is unknown. */
  path(blobId: string): Promise<string | undefined>;
  /** Unknown is fine. */
  delete(blobId: string): Promise<void>;
  /** Deletes what is older than `ageMs`: what a dead process left. Returns how many. */
  sweep(ageMs: number): Promise<number>;
}

const BLOB_ID = /^[0-9a-f-]{36}$/;

/** Blobs as files of one directory, which gateway and workers share. */
export async function openDiskBlobStore(directory: string): Promise<BlobStore> {
  await mkdir(directory, { recursive: true, mode: 0o700 }).catch((cause: NodeJS.ErrnoException) => {
    throw new Error(`DATA_DIR: ${directory} cannot be made (${cause.code})`, { cause });
  });
  const fileOf = (blobId: string): string | undefined =>
    BLOB_ID.test(blobId) ? join(directory, blobId) : undefined;

  const existing = async (blobId: string): Promise<string | undefined> => {
    const file = fileOf(blobId);
    if (!file) return undefined;
    return stat(file).then(
      () => file,
      () => undefined,
    );
  };

  return {
    async put(source) {
      const blobId = randomUUID();
      const temporary = join(directory, `${blobId}.part`);
      try {
        await pipeline(source, createWriteStream(temporary, { mode: 0o600 }));
        const { size } = await stat(temporary);
        await rename(temporary, join(directory, blobId));
        return { blobId, sizeBytes: size };
      } catch (error) {
        await rm(temporary, { force: true });
        throw error;
      }
    },
    async get(blobId) {
      const file = await existing(blobId);
      return file === undefined ? undefined : createReadStream(file);
    },
    path: existing,
    async delete(blobId) {
      const file = fileOf(blobId);
      if (file) await rm(file, { force: true });
    },
    async sweep(ageMs) {
      let count = 0;
      for (const name of await readdir(directory)) {
        const file = join(directory, name);
        const found = await stat(file).catch(() => undefined);
        if (!found || Date.now() - found.mtimeMs < ageMs) continue;
        await rm(file, { force: true });
        count += 1;
      }
      return count;
    },
  };
}
