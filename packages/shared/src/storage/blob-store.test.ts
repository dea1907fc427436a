import { mkdtemp, readdir, rm, utimes } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer, text } from 'node:stream/consumers';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { type BlobStore, openDiskBlobStore } from './blob-store.ts';

let directory: string;
let store: BlobStore;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'antiphon-blobs-'));
  store = await openDiskBlobStore(directory);
});
afterEach(() => rm(directory, { recursive: true }));

it('gives back what was put, and forgets it when deleted', async () => {
  const { blobId, sizeBytes } = await store.put(
    Readable.from([Buffer.from('ab'), Buffer.from('c')]),
  );
  expect(sizeBytes).toBe(3);
  const found = await store.get(blobId);
  expect(found && (await buffer(found)).toString()).toBe('abc');
  await store.delete(blobId);
  expect(await store.get(blobId)).toBeUndefined();
  expect(await readdir(directory)).toEqual([]);
});

it('leaves nothing when the source fails', async () => {
  const broken = Readable.from(
    (async function* () {
      yield Buffer.from('a');
      throw new TypeError('cut');
    })(),
  );
  await expect(store.put(broken)).rejects.toThrow('cut');
  expect(await readdir(directory)).toEqual([]);
});

it('takes no path for an id', async () => {
  expect(await store.get('../../etc/passwd')).toBeUndefined();
  expect(await store.local('..')).toBeUndefined();
  await expect(store.put(Readable.from(['a']), '../a')).rejects.toThrow('not a blob id');
});

it('replaces a blob that has a name', async () => {
  await store.put(Readable.from(['the first']), 'batch_1-7');
  await store.put(Readable.from(['the second']), 'batch_1-7');
  expect(await readdir(directory)).toEqual(['batch_1-7']);
  expect(await text((await store.get('batch_1-7')) ?? Readable.from([]))).toBe('the second');
});

it('reads a part', async () => {
  const { blobId } = await store.put(Readable.from(['0123456789']));
  const part = await store.get(blobId, { start: 2, end: 5 });
  expect(await text(part ?? Readable.from([]))).toBe('2345');
});

it('sweeps what is old and keeps what is new', async () => {
  const old = await store.put(Readable.from(['old']));
  const fresh = await store.put(Readable.from(['new']));
  await utimes(join(directory, old.blobId), 1, 1);
  expect(await store.sweep(60_000)).toBe(1);
  expect(await readdir(directory)).toEqual([fresh.blobId]);
});
