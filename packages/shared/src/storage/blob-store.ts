import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import type { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { VoiceError } from '../errors/voice-error.ts';

/** Of a blob's bytes, both ends included, as in HTTP (RFC 9110, section 14.1.2). */
export interface BlobRange {
  start: number;
  end: number;
}

/** A file on this machine with a blob's content. */
export interface LocalBlob {
  path: string;
  /** It is not needed any more: a copy is deleted. */
  release(): Promise<void>;
}

/**
 * Bytes that are too large for Redis: uploads, large request bodies, files of clients. All methods
 * reject with `storage_unavailable` where the store is another machine that does not answer.
 */
export interface BlobStore {
  /**
   * Writes to the end of `source`, and only then can it be read: nothing is left when it fails. An
   * id that is given (letters, digits, `_` and `-`, 100 at most) names the blob for good: whoever
   * writes it again replaces it. Throws what `source` throws, `storage_full`.
   */
  put(
    source: Readable | Transform,
    blobId?: string,
  ): Promise<{ blobId: string; sizeBytes: number }>;
  /** Undefined when it is unknown. */
  get(blobId: string, range?: BlobRange): Promise<Readable | undefined>;
  /** For programs that need a file. Undefined when it is unknown. */
  local(blobId: string): Promise<LocalBlob | undefined>;
  /** Unknown is fine. */
  delete(blobId: string): Promise<void>;
  /**
   * Deletes what is older than `ageMs`: what a dead process left. Blobs for which `isKept` is true
   * stay; what was never written to its end goes. Returns how many blobs it deleted.
   */
  sweep(ageMs: number, isKept?: IsKept): Promise<number>;
}

export type IsKept = (blobId: string) => boolean | Promise<boolean>;

const isFull = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && /^(?:ENOSPC|EDQUOT)$/.test(String(error.code));

export const BLOB_ID = /^[\w-]{1,100}$/;

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
    async put(source, blobId = randomUUID()) {
      if (!BLOB_ID.test(blobId)) throw new Error(`not a blob id: ${blobId}`);
      // Two writers of one blob do not meet before the last step, which is one.
      const temporary = join(directory, `${blobId}.${randomUUID()}.part`);
      try {
        const file = createWriteStream(temporary, { mode: 0o600 });
        await pipeline(source, file);
        await rename(temporary, join(directory, blobId));
        return { blobId, sizeBytes: file.bytesWritten };
      } catch (error) {
        await rm(temporary, { force: true });
        throw isFull(error) ? new VoiceError('storage_full', { cause: error }) : error;
      }
    },
    async get(blobId, range) {
      const file = await existing(blobId);
      return file === undefined ? undefined : createReadStream(file, range);
    },
    async local(blobId) {
      const path = await existing(blobId);
      return path === undefined ? undefined : { path, release: async () => undefined };
    },
    async delete(blobId) {
      const file = fileOf(blobId);
      if (file) await rm(file, { force: true });
    },
    async sweep(ageMs, isKept) {
      let count = 0;
      for (const name of await readdir(directory)) {
        const file = join(directory, name);
        const found = await stat(file).catch(() => undefined);
        if (!found || Date.now() - found.mtimeMs < ageMs) continue;
        const isBlob = BLOB_ID.test(name);
        if (isBlob && (await isKept?.(name))) continue;
        await rm(file, { force: true });
        if (isBlob) count += 1;
      }
      return count;
    },
  };
}
