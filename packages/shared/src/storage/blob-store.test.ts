import { mkdtemp, readdir, rm, stat, utimes } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { describeBlobStoreContract } from '@antiphon/testing/contracts/blob-store-contract';
import { expect, it } from 'vitest';
import { openDiskBlobStore } from './blob-store.ts';

async function open() {
  const directory = await mkdtemp(join(tmpdir(), 'antiphon-blobs-'));
  const names = async () => (await readdir(directory)).toSorted();
  return {
    ...{ directory, names, store: await openDiskBlobStore(directory) },
    async age() {
      for (const name of await names()) {
        const twoHoursAgo = Date.now() / 1000 - 7200;
        await utimes(join(directory, name), twoHoursAgo, twoHoursAgo);
      }
    },
    close: () => rm(directory, { recursive: true }),
  };
}

describeBlobStoreContract('disk', open);

it('nobody else on this machine may read it', async () => {
  const { directory, store, close } = await open();
  const { blobId } = await store.put(Readable.from(['a']));
  expect((await stat(join(directory, blobId))).mode & 0o777).toBe(0o600);
  await close();
});

it.each(['ENOSPC', 'EDQUOT'])('a disk without room (%s) is told apart', async (code) => {
  const { store, names, close } = await open();
  const full = Object.assign(new Error(code), { code });
  const source = Readable.from(fails(full));
  await expect(store.put(source)).rejects.toMatchObject({ code: 'storage_full' });
  await expect(store.put(Readable.from(fails(new Error('EIO'))))).rejects.toThrow('EIO');
  expect(await names()).toEqual([]);
  await close();
});

async function* fails(error: Error): AsyncGenerator<string> {
  yield 'a';
  throw error;
}
