import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { FileIndex } from '../files/file-index.ts';
import { type BlobStore, openDiskBlobStore } from '../storage/blob-store.ts';
import { createBatchId, lineResultBlobId } from './batch-key.ts';
import { BatchStore } from './batch-store.ts';
import { LineRecorder } from './line-recorder.ts';

let server: RedisServer;
let redis: Redis;
let directory: string;
let batches: BatchStore;
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
  recorder = new LineRecorder({ batches, files: new FileIndex(redis), fileBlobs });
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
