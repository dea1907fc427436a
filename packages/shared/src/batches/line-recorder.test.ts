import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { FileIndex } from '../files/file-index.ts';
import { createBlobId, type FileRecord } from '../files/file-record.ts';
import { type BlobStore, openDiskBlobStore } from '../storage/blob-store.ts';
import { createBatchId, lineFileId, lineResultBlobId } from './batch-key.ts';
import { BatchStore, type LineOutcome } from './batch-store.ts';
import { LineRecorder } from './line-recorder.ts';

let server: RedisServer;
let redis: Redis;
let directory: string;
let batches: BatchStore;
let files: FileIndex;
let fileBlobs: BlobStore;
let recorder: LineRecorder;
let batchId: string;

const large = { result: { type: 'completion' as const, body: 'x'.repeat(20_000) } };

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'antiphon-recorder-'));
  server = await startRedis();
  redis = new Redis(server.url);
  batches = new BatchStore(redis);
  fileBlobs = await openDiskBlobStore(directory);
  files = new FileIndex(redis);
  recorder = new LineRecorder({ batches, files, fileBlobs });
});
beforeEach(async () => {
  batchId = createBatchId();
  await batches.create({
    ...{ id: batchId, tenantId: 't', endpoint: '/v1/chat/completions', inputFileId: 'file-in' },
    ...{ completionWindow: '24h', windowSeconds: 3600, outputLifeSeconds: 60 },
  });
  await batches.start(batchId, { total: 2, model: 'm' });
});
afterAll(async () => {
  redis.disconnect();
  await server.close();
  await rm(directory, { recursive: true });
});

const isStored = async () => (await fileBlobs.local(lineResultBlobId(batchId, 0))) !== undefined;

it('a large result that came too late is deleted', async () => {
  await batches.close(batchId);
  expect(await recorder.record({ batchId, line: 0 }, large)).toBe('dropped');
  expect(await isStored()).toBe(false);
});

it('a large result that an earlier run has recorded stays', async () => {
  expect(await recorder.record({ batchId, line: 0 }, large)).toBe('done');
  expect(await recorder.record({ batchId, line: 0 }, large)).toBe('dropped');
  await batches.close(batchId);
  expect(await recorder.record({ batchId, line: 0 }, large)).toBe('dropped');
  expect(await isStored()).toBe(true);
});

describe('a sound', () => {
  const blobOf = async (blobId: string) => (await fileBlobs.get(blobId)) && blobId;

  /** What one run of line 0 has made. */
  async function speak(): Promise<LineOutcome & { file: FileRecord; blobId: string }> {
    const id = lineFileId(batchId, 0);
    const blobId = createBlobId(id);
    const { sizeBytes: bytes } = await fileBlobs.put(Readable.from([blobId]), blobId);
    return {
      result: {
        ...{ type: 'speech', model: 'm', voice: 'v', format: 'pcm', fileId: id },
        ...{ bytes, durationMs: 1 },
      },
      file: {
        ...{ id, blobId, tenantId: 't', bytes, filename: 'a.pcm', purpose: 'batch_output' },
        createdAtSeconds: 1,
      },
      blobId,
    };
  }

  it('of a second run goes, and that of the first stays as it is', async () => {
    const [first, second] = [await speak(), await speak()];
    expect(await recorder.record({ batchId, line: 0 }, first)).toBe('done');
    expect(await recorder.record({ batchId, line: 0 }, second)).toBe('dropped');
    expect(await files.get('t', first.file.id)).toEqual(first.file);
    expect(await blobOf(first.blobId)).toBe(first.blobId);
    expect(await blobOf(second.blobId)).toBeUndefined();
  });

  it('stays when its result is sent a second time, because the reply was lost', async () => {
    const spoken = await speak();
    expect(await recorder.record({ batchId, line: 0 }, spoken)).toBe('done');
    expect(await recorder.record({ batchId, line: 0 }, spoken)).toBe('dropped');
    expect(await blobOf(spoken.blobId)).toBe(spoken.blobId);
  });

  it('that comes too late goes', async () => {
    const spoken = await speak();
    await batches.close(batchId);
    expect(await recorder.record({ batchId, line: 0 }, spoken)).toBe('dropped');
    expect(await blobOf(spoken.blobId)).toBeUndefined();
  });

  it('goes when Redis has no room for its record: the line makes another one', async () => {
    const spoken = await speak();
    await redis.config('SET', 'maxmemory', '1');
    try {
      const full = { code: 'storage_full' };
      await expect(recorder.record({ batchId, line: 0 }, spoken)).rejects.toMatchObject(full);
    } finally {
      await redis.config('SET', 'maxmemory', '0');
    }
    expect(await blobOf(spoken.blobId)).toBeUndefined();
  });
});
