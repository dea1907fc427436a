import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { FileIndex } from './file-index.ts';
import { createBlobId, createFileId, type FileRecord } from './file-record.ts';

let server: RedisServer;
let redis: Redis;
let files: FileIndex;

beforeAll(async () => {
  server = await startRedis();
  redis = new Redis(server.url);
  files = new FileIndex(redis);
});
beforeEach(() => redis.flushall());
afterAll(async () => {
  redis.disconnect();
  await server.close();
});

async function add(given: Partial<FileRecord> = {}): Promise<FileRecord> {
  const record: FileRecord = {
    ...{ id: createFileId(), tenantId: 'one', bytes: 3, filename: 'a.jsonl', purpose: 'batch' },
    ...{ createdAtSeconds: 1_700_000_000, ...given },
  };
  await files.add(record);
  return record;
}

it('knows a file once, for its tenant', async () => {
  const file = await add();
  expect(await files.add({ ...file, bytes: 9 })).toBe(false);
  expect(await files.get('one', file.id)).toEqual(file);
  expect(await files.get('two', file.id)).toBeUndefined();
  expect(await files.remove('two', file.id)).toBeUndefined();
  expect(await files.remove('one', file.id)).toBe(file.id);
  expect(await files.get('one', file.id)).toBeUndefined();
  const left = ['antiphon:files:sequence', `antiphon:tenant:one:files:gone:${file.id}`];
  expect((await redis.keys('*')).toSorted()).toEqual(left);
  expect(await redis.pttl(left[1] ?? '')).toBeGreaterThan(0);
});

it('lists in both orders, by purpose, in pages', async () => {
  const [a, b, c] = [await add(), await add({ purpose: 'batch_output' }), await add()];
  await add({ tenantId: 'two' });
  const ids = async (options: Parameters<FileIndex['list']>[1]) => {
    const page = await files.list('one', options);
    return page && [page.files.map(({ id }) => id), page.hasMore];
  };
  expect(await ids({ limit: 2, order: 'desc' })).toEqual([[c.id, b.id], true]);
  expect(await ids({ limit: 2, order: 'desc', after: b.id })).toEqual([[a.id], false]);
  expect(await ids({ limit: 9, order: 'asc' })).toEqual([[a.id, b.id, c.id], false]);
  expect(await ids({ limit: 9, order: 'asc', purpose: 'batch' })).toEqual([[a.id, c.id], false]);
  expect(await ids({ limit: 1, order: 'asc', purpose: 'batch' })).toEqual([[a.id], true]);
  expect(await ids({ limit: 9, order: 'asc', after: 'file-x' })).toBeUndefined();
});

it.each(['asc', 'desc'] as const)('goes on behind a file that is gone, %s', async (order) => {
  const added = [];
  for (let count = 0; count < 5; count += 1) added.push((await add()).id);
  const expected = order === 'asc' ? added : added.toReversed();
  const seen: string[] = [];
  for (let after: string | undefined; seen.length < 5; after = seen.at(-1)) {
    const page = await files.list('one', { limit: 2, order, after, purpose: 'batch' });
    for (const { id } of page?.files ?? []) {
      seen.push(id);
      await files.remove('one', id);
    }
    expect(page?.hasMore).toBe(seen.length < 5);
  }
  expect(seen).toEqual(expected);
  expect(await files.list('two', { limit: 2, order, after: seen[0] })).toBeUndefined();
});

it('forgets what has expired, at once for its readers', async () => {
  const past = await add({ expiresAtSeconds: Math.floor(Date.now() / 1000) - 1 });
  const kept = await add({ expiresAtSeconds: Math.floor(Date.now() / 1000) + 60 });
  expect(await files.get('one', past.id)).toBeUndefined();
  expect((await files.list('one', { limit: 9, order: 'asc' }))?.files).toEqual([kept]);
  expect(await files.hasBlob(past.id)).toBe(true);
  expect(await files.takeExpired(10)).toEqual([past.id]);
  expect(await files.hasBlob(past.id)).toBe(false);
  expect(await files.takeExpired(10)).toEqual([]);
});

it('knows where the bytes are, and whose they are not', async () => {
  const id = createFileId();
  const [blobId, other] = [createBlobId(id), createBlobId(id)];
  const expiresAtSeconds = Math.floor(Date.now() / 1000) - 1;
  await add({ id, blobId, expiresAtSeconds });
  expect(await files.hasBlob(blobId)).toBe(true);
  expect(await files.hasBlob(other)).toBe(false);
  expect(await files.hasBlob(id)).toBe(false);
  expect(await files.takeExpired(10)).toEqual([blobId]);
  await add({ id, blobId });
  expect(await files.remove('one', id)).toBe(blobId);
  expect(await files.hasBlob(blobId)).toBe(false);
});

it('takes files out of a Redis that is full', async () => {
  const past = await add({ expiresAtSeconds: Math.floor(Date.now() / 1000) - 1 });
  const file = await add();
  await redis.config('SET', 'maxmemory', '1');
  try {
    await expect(add()).rejects.toMatchObject({ code: 'storage_full' });
    expect(await files.remove('one', file.id)).toBe(file.id);
    expect(await files.takeExpired(10)).toEqual([past.id]);
  } finally {
    await redis.config('SET', 'maxmemory', '0');
  }
  const left = [past, file].map(({ id }) => `antiphon:tenant:one:files:gone:${id}`);
  expect((await redis.keys('*')).toSorted()).toEqual(
    ['antiphon:files:sequence', ...left].toSorted(),
  );
});

it('changes when files expire, of those that are there', async () => {
  const later = Math.floor(Date.now() / 1000) + 1000;
  const added = await Promise.all(
    Array.from({ length: 70 }, () => add({ expiresAtSeconds: later, blobId: 'x' })),
  );
  const ids = added.map(({ id }) => id);
  await files.remove('one', ids[1] ?? '');
  await files.expireAt(ids, later - 500);
  expect(await files.get('one', ids[69] ?? '')).toEqual({
    ...added[69],
    expiresAtSeconds: later - 500,
  });
  expect(await files.get('one', ids[1] ?? '')).toBeUndefined();
  const expiry = await redis.zrange('antiphon:files:expiry', '0', '-1', 'WITHSCORES');
  expect(expiry.filter((_, at) => at % 2 === 1)).toEqual(Array(69).fill(String(later - 500)));
});
