import { mkdtemp, readdir, rm, utimes } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { inputBlobId, lineBodyBlobId, lineResultBlobId } from '@antiphon/shared/batches/batch-key';
import { FileIndex } from '@antiphon/shared/files/file-index';
import { createBlobId } from '@antiphon/shared/files/file-record';
import { openDiskBlobStore } from '@antiphon/shared/storage/blob-store';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { OWNER_BLOB_ID, StoreOwnership } from './store-owner.ts';
import { sweepExpired, sweepOrphans, sweepOwnOrphans } from './store-sweeper.ts';

const HOUR_SECONDS = 3600;
const nowSeconds = () => Math.floor(Date.now() / 1000);

let server: RedisServer;
let redis: Redis;
let directory: string;
let stores: Parameters<typeof sweepOrphans>[0];
beforeAll(async () => {
  server = await startRedis();
  redis = new Redis(server.url);
});
beforeEach(async () => {
  await redis.flushall();
  directory = await mkdtemp(join(tmpdir(), 'antiphon-sweep-'));
  const fileBlobs = await openDiskBlobStore(directory);
  stores = { files: new FileIndex(redis), fileBlobs, blobs: fileBlobs };
});
afterEach(() => rm(directory, { recursive: true }));
afterAll(async () => {
  redis.disconnect();
  await server.close();
});

const names = async () => (await readdir(directory)).toSorted();

async function store(blobId: string, ageHours = 0): Promise<void> {
  await stores.fileBlobs.put(Readable.from(['a']), blobId);
  const then = nowSeconds() - ageHours * HOUR_SECONDS;
  await utimes(join(directory, blobId), then, then);
}

const know = (id: string, expiresAtSeconds?: number, blobId?: string) =>
  stores.files.add({
    ...{ id, tenantId: 'one', bytes: 1, filename: 'a', purpose: 'batch', createdAtSeconds: 1 },
    ...(expiresAtSeconds === undefined ? {} : { expiresAtSeconds }),
    ...(blobId === undefined ? {} : { blobId }),
  });

it('files that have expired lose their bytes, however many they are', async () => {
  for (let number = 0; number < 250; number += 1) {
    const fileId = `file-old-${number}`;
    await store(fileId);
    await know(fileId, nowSeconds() - 1);
  }
  for (const fileId of ['file-fresh', 'file-forever']) await store(fileId);
  await know('file-fresh', nowSeconds() + 60);
  await know('file-forever');
  await sweepExpired(stores);
  expect(await names()).toEqual(['file-forever', 'file-fresh']);
  expect(await stores.files.get('one', 'file-fresh')).toBeDefined();
});

it('bytes that no record knows go after a day', async () => {
  await store('file-orphan', 25);
  await store('file-uploading', 23);
  await store('file-known', 9999);
  await know('file-known');
  await sweepOrphans(stores);
  expect(await names()).toEqual(['file-known', 'file-uploading']);
});

it('a sound that no line has recorded goes after a day, and not that of its file', async () => {
  const fileId = 'file-0a-7';
  const [kept, left] = [createBlobId(fileId), createBlobId(fileId)];
  for (const blobId of [kept, left]) await store(blobId, 25);
  await know(fileId, undefined, kept);
  await sweepOrphans(stores);
  expect(await names()).toEqual([kept]);
});

it('what batches keep between their lines goes after eight days', async () => {
  const blobIds = (batchId: string) => [
    inputBlobId(batchId),
    lineBodyBlobId(batchId, 7),
    lineResultBlobId(batchId, 7),
  ];
  for (const blobId of blobIds('batch_open')) await store(blobId, 8 * 24 - 1);
  for (const blobId of blobIds('batch_gone')) await store(blobId, 8 * 24 + 1);
  await sweepOrphans(stores);
  expect(await names()).toEqual(blobIds('batch_open').toSorted());
});

describe('a store that two installations share', () => {
  const told: string[] = [];
  const ownershipOf = (other: Redis) =>
    new StoreOwnership(other, stores.fileBlobs, { warn: (line: string) => told.push(line) });

  it('is swept by the first alone, and the other one tells it once', async () => {
    const elsewhere = new Redis(server.url, { db: 1 });
    try {
      await elsewhere.flushdb();
      const [owner, other] = [ownershipOf(redis), ownershipOf(elsewhere)];
      await store('file-known', 25);
      await know('file-known');
      expect(await owner.isOurs()).toBe(true);
      // For the other one it is an orphan.
      const strange = { ...stores, files: new FileIndex(elsewhere) };
      for (let count = 0; count < 2; count += 1) await sweepOwnOrphans(strange, other);
      expect(await names()).toEqual(['file-known', OWNER_BLOB_ID]);
      expect(told).toEqual([expect.stringContaining('another installation')]);
      await store('file-orphan', 25);
      await utimes(join(directory, OWNER_BLOB_ID), 1, 1);
      await sweepOwnOrphans(stores, owner);
      expect(await names()).toEqual(['file-known', OWNER_BLOB_ID]);
    } finally {
      elsewhere.disconnect();
    }
  });

  it("is the next one's when its mark is taken away", async () => {
    await ownershipOf(redis).isOurs();
    await redis.flushall();
    expect(await ownershipOf(redis).isOurs()).toBe(false);
    await stores.fileBlobs.delete(OWNER_BLOB_ID);
    expect(await ownershipOf(redis).isOurs()).toBe(true);
  });
});
