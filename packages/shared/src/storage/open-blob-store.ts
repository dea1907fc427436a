import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type BlobStore, openDiskBlobStore } from './blob-store.ts';
import { type S3Config, readS3Settings } from './s3-settings.ts';

/** `blobs`: what passes through, for an hour. `files`: what clients and batches keep. */
export type BlobFolder = 'blobs' | 'files';

/** Longer than any job runs. */
const LOCAL_AGE_MS = 86_400_000;

/**
 * A folder of `DATA_DIR`, which gateway and workers share; or, where `S3_BUCKET` is set, of that
 * bucket. Rejects with a ConfigError, or when the place cannot be used. The SDK (23 MB on disk) is
 * loaded only where it is wanted.
 */
export async function openBlobStore(
  config: S3Config & { DATA_DIR: string },
  folder: BlobFolder,
): Promise<BlobStore> {
  const settings = readS3Settings(config);
  if (!settings) return openDiskBlobStore(join(config.DATA_DIR, folder));
  const localDirectory = join(config.DATA_DIR, 'local-copies');
  await sweepCopies(localDirectory);
  const { openS3BlobStore } = await import('./s3-blob-store.ts');
  return openS3BlobStore({ settings, folder: `${folder}/`, localDirectory });
}

/** Copies that a process left when it died. */
async function sweepCopies(directory: string): Promise<void> {
  for (const name of await readdir(directory).catch(() => [])) {
    const file = join(directory, name);
    const found = await stat(file).catch(() => undefined);
    if (found && Date.now() - found.mtimeMs > LOCAL_AGE_MS) await rm(file, { force: true });
  }
}
