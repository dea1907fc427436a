import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import {
  createBatchId,
  inputBlobId,
  lineBodyBlobId,
  lineResultBlobId,
  lineResultsKey,
  outputFileId,
} from '@antiphon/shared/batches/batch-key';
import type { BatchRecord } from '@antiphon/shared/batches/batch-record';
import { BatchStore } from '@antiphon/shared/batches/batch-store';
import { LineRecorder } from '@antiphon/shared/batches/line-recorder';
import { FileIndex } from '@antiphon/shared/files/file-index';
import { createLogger } from '@antiphon/shared/runtime/logger';
import { type BlobStore, openDiskBlobStore } from '@antiphon/shared/storage/blob-store';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { until } from '@antiphon/testing/until';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { clearBatch } from './clear-batch.ts';
import { writeBatchFiles, type WrittenBatch } from './output-files.ts';

const LINES = 20;
const never = new AbortController().signal;
const logger = createLogger('gateway', 'silent');

let server: RedisServer;
let redis: Redis;
let batches: BatchStore;
let files: FileIndex;
let directory: string;
let fileBlobs: BlobStore;
let batch: BatchRecord;

beforeAll(async () => {
  server = await startRedis();
  redis = new Redis(server.url);
  batches = new BatchStore(redis);
  files = new FileIndex(redis);
});
beforeEach(async () => {
  await redis.flushall();
  directory = await mkdtemp(join(tmpdir(), 'antiphon-end-'));
  fileBlobs = await openDiskBlobStore(directory);
  batch = await closedBatch();
});
afterEach(() => rm(directory, { recursive: true }));
afterAll(async () => {
  redis.disconnect();
  await server.close();
});

/** All of its results lie in the store of files. */
async function closedBatch(): Promise<BatchRecord> {
  const id = createBatchId();
  await batches.create({
    ...{ id, tenantId: 't', endpoint: '/v1/chat/completions', inputFileId: 'file-in' },
    ...{ completionWindow: '24h', windowSeconds: 3600, outputLifeSeconds: 60 },
  });
  await batches.start(id, { total: LINES, model: 'm' });
  const recorder = new LineRecorder({ batches, files, fileBlobs });
  const input: string[] = [];
  for (let line = 0; line < LINES; line += 1) {
    const request = { custom_id: `line-${line}`, method: 'POST', url: '/v1/chat/completions' };
    input.push(JSON.stringify({ ...request, body: { model: 'm', messages: [] } }));
    const body = JSON.stringify({ object: 'chat.completion', text: 'x'.repeat(20_000) });
    await recorder.record({ batchId: id, line }, { result: { type: 'completion', body } });
  }
  await fileBlobs.put(Readable.from([input.join('\n')]), inputBlobId(id));
  await batches.close(id);
  return (await batches.find(id)) ?? Promise.reject(new Error('no batch'));
}

const names = async () => (await readdir(directory)).toSorted();
const write = (blobs: BlobStore = fileBlobs) =>
  writeBatchFiles({ batches, fileBlobs: blobs }, batch, 'completed');

/** What another keeper does; resolves with the inode of its output. */
async function endIt(): Promise<number> {
  const written = await write();
  if (!written) throw new Error('nothing was written');
  expect(await batches.end(batch.id, 'completed', written.files)).toBe('completed');
  await clearBatch({ files, fileBlobs, logger }, batch, { written, signal: never });
  return inodeOfOutput();
}

const inodeOfOutput = async () => (await stat(join(directory, outputFileId(batch.id)))).ino;

describe('a keeper that is late', () => {
  it.each(['is gone', 'was just read'])(
    'leaves the files of another one alone: a result %s',
    async (how) => {
      let ended: Promise<number> | undefined;
      const slow: BlobStore = {
        ...fileBlobs,
        async get(blobId, range) {
          if (blobId !== lineResultBlobId(batch.id, LINES - 1)) return fileBlobs.get(blobId, range);
          const early = how === 'is gone' ? undefined : await fileBlobs.get(blobId);
          const content = early && (await Array.fromAsync(early));
          await (ended ??= endIt());
          return content ? Readable.from(content) : fileBlobs.get(blobId);
        },
      };
      expect(await write(slow)).toBeUndefined();
      await until(async () => (await names()).length === 1);
      expect(await inodeOfOutput()).toBe(await ended);
      const file = join(directory, outputFileId(batch.id));
      const lines = (await readFile(file, 'utf8')).trimEnd().split('\n');
      expect(lines).toHaveLength(LINES);
      expect(lines.at(-1)).toContain('"status_code":200');
    },
  );
});

it('results that lie in the store are read several at once', async () => {
  const asked = new Set<string>();
  let most = 0;
  const held: BlobStore = {
    ...fileBlobs,
    async get(blobId, range) {
      asked.add(blobId);
      most = Math.max(most, asked.size);
      // Nobody has an answer before eight wait for one.
      if (blobId.endsWith('-result')) await until(() => most >= 8);
      asked.delete(blobId);
      return fileBlobs.get(blobId, range);
    },
  };
  expect(await write(held)).toBeDefined();
  expect(most).toBe(8);
});

it('a line whose result is lost, or cannot be told, says so', async () => {
  const untold = JSON.stringify({ type: 'completion', body: 'no JSON' });
  await redis.hset(lineResultsKey(batch.id), '2', untold);
  await redis.hdel(lineResultsKey(batch.id), '3');
  await fileBlobs.delete(lineResultBlobId(batch.id, 5));
  await fileBlobs.put(Readable.from(['{"type":"compl']), lineResultBlobId(batch.id, 7));
  const { errorFile } = (await write())?.files ?? {};
  const errors = (await readFile(join(directory, errorFile?.id ?? ''), 'utf8')).trimEnd();
  expect(errors.split('\n').map((line) => JSON.parse(line) as unknown)).toMatchObject(
    ['line-2', 'line-3', 'line-5', 'line-7'].map((customId) => ({
      ...{ custom_id: customId, error: null },
      response: { status_code: 500, body: { error: { message: 'The result was lost.' } } },
    })),
  );
});

describe('what lay between the lines', () => {
  const clear = (blobs: BlobStore, written?: WrittenBatch, signal = never) =>
    clearBatch({ files, fileBlobs: blobs, logger }, batch, { written, signal });

  it('goes, also when another keeper knew what there is', async () => {
    await fileBlobs.put(Readable.from(['a']), lineBodyBlobId(batch.id, 7));
    await batches.end(batch.id, 'completed', {});
    expect(await redis.exists(lineResultsKey(batch.id))).toBe(0);
    expect(await clear(fileBlobs)).toBe(true);
    expect(await names()).toEqual([]);
  });

  it('is not looked for when its input is gone', async () => {
    await fileBlobs.delete(inputBlobId(batch.id));
    const before = await names();
    expect(await clear(fileBlobs)).toBe(true);
    expect(await names()).toEqual(before);
  });

  it('goes several at once, single failures aside, and the input last', async () => {
    const deleted: string[] = [];
    const failing = lineResultBlobId(batch.id, 3);
    let waiting = 0;
    const slow: BlobStore = {
      ...fileBlobs,
      async delete(blobId) {
        waiting += 1;
        if (blobId !== inputBlobId(batch.id)) await until(() => waiting >= 16);
        if (blobId === failing) throw new Error('not now');
        await fileBlobs.delete(blobId);
        deleted.push(blobId);
      },
    };
    const blobIds = Array.from({ length: LINES }, (_, line) => lineResultBlobId(batch.id, line));
    expect(await clear(slow, { files: {}, blobIds, soundFileIds: [] })).toBe(true);
    expect(deleted).toHaveLength(LINES);
    expect(deleted.at(-1)).toBe(inputBlobId(batch.id));
    expect(await names()).toEqual([failing]);
  });

  it('stays for the next keeper when this one stops', async () => {
    const stop = new AbortController();
    const stopping: BlobStore = {
      ...fileBlobs,
      async delete(blobId) {
        stop.abort();
        await fileBlobs.delete(blobId);
      },
    };
    expect(await clear(stopping, undefined, stop.signal)).toBe(false);
    expect(await names()).toContain(inputBlobId(batch.id));
  });
});
