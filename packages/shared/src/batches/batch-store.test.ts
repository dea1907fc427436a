import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { FileIndex } from '../files/file-index.ts';
import type { FileRecord } from '../files/file-record.ts';
import {
  batchKey,
  createBatchId,
  lineFileId,
  lineResultsKey,
  OPEN_BATCHES_KEY,
  tenantBatchesKey,
} from './batch-key.ts';
import { BatchStore } from './batch-store.ts';
import type { LineResult } from './line-result.ts';

let server: RedisServer;
let redis: Redis;
let store: BatchStore;
let files: FileIndex;
let id: string;

const DAY = 86_400;
const SPOKEN: LineResult = {
  ...{ type: 'speech', model: 'flite', voice: 'slt', format: 'wav' },
  ...{ fileId: 'file-1', bytes: 4, durationMs: 1 },
};
const FAILED: LineResult = { type: 'error', error: { code: 'engine_failed', message: 'no' } };

beforeAll(async () => {
  server = await startRedis();
  redis = new Redis(server.url);
  store = new BatchStore(redis);
  files = new FileIndex(redis);
});
beforeEach(async () => {
  await redis.flushall();
  id = await create('one');
});
afterAll(async () => {
  redis.disconnect();
  await server.close();
});

const newBatch = (batchId: string, tenantId: string) => ({
  ...{ id: batchId, tenantId, endpoint: '/v1/audio/speech' as const, inputFileId: 'file-in' },
  ...{ completionWindow: '24h', windowSeconds: DAY, outputLifeSeconds: 60 },
  ...{ metadata: { a: 'b' }, requestId: 'req_1' },
});

async function create(tenantId: string): Promise<string> {
  const batchId = createBatchId();
  expect(await store.create(newBatch(batchId, tenantId))).toBe('created');
  return batchId;
}

const soundOf = (batchId: string, line: number): FileRecord => ({
  ...{ id: lineFileId(batchId, line), tenantId: 'one', bytes: 4, filename: `${line}.wav` },
  ...{ purpose: 'batch_output', createdAtSeconds: 1 },
});

describe('a batch', () => {
  it('is what it was made from, and belongs to its tenant', async () => {
    const batch = await store.get('one', id);
    expect(batch).toMatchObject({
      ...{ id, status: 'validating', endpoint: '/v1/audio/speech', total: 0, completed: 0 },
      ...{ metadata: { a: 'b' }, requestId: 'req_1', outputLifeSeconds: 60 },
    });
    expect((batch?.expiresAt ?? 0) - (batch?.createdAt ?? 0)).toBe(DAY);
    expect(await store.get('two', id)).toBeUndefined();
    expect(await redis.zscore(OPEN_BATCHES_KEY, id)).toBe('0');
  });

  it('goes its way once, and each step notes its time', async () => {
    expect(await store.start(id, { total: 2, model: 'flite' })).toBe('in_progress');
    expect(await store.fail(id, [])).toBe('in_progress');
    expect(await store.close(id)).toBe('finalizing');
    const outputFile = { ...soundOf(id, 0), id: 'file-out' };
    const usage = { inputTokens: 1, outputTokens: 2 };
    expect(await store.end(id, 'completed', { outputFile, usage })).toBe('completed');
    expect(await store.end(id, 'expired', { errorFile: soundOf(id, 1) })).toBe('completed');
    expect(await store.cancel('one', id)).toBe('completed');
    const batch = await store.get('one', id);
    expect(batch).toMatchObject({ status: 'completed', total: 2, outputFileId: 'file-out', usage });
    expect(await files.get('one', 'file-out')).toEqual(outputFile);
    expect(await files.get('one', lineFileId(id, 1))).toBeUndefined();
    expect(batch?.errorFileId).toBeUndefined();
    for (const at of [batch?.inProgressAt, batch?.finalizingAt, batch?.completedAt])
      expect(at).toBeGreaterThan(1_700_000_000);
  });

  it('tells what is wrong with its input', async () => {
    const fault = { code: 'invalid_json_line' as const, message: 'no JSON', param: null, line: 3 };
    expect(await store.fail(id, [fault])).toBe('failed');
    expect(await store.get('one', id)).toMatchObject({ status: 'failed', faults: [fault] });
  });

  it('keeps as many faults as 16 KiB hold', async () => {
    const message = 'x'.repeat(300);
    const faults = Array.from({ length: 100 }, (_, line) => ({
      ...{ code: 'duplicate_custom_id' as const, message, param: null, line },
    }));
    await store.fail(id, faults);
    const kept = (await store.get('one', id))?.faults ?? [];
    expect(kept.length).toBeGreaterThan(40);
    expect(kept).toEqual(faults.slice(0, kept.length));
    expect(JSON.stringify(kept).length).toBeLessThan(16_500);
  });

  it('is cancelled by its tenant only', async () => {
    await store.start(id, { total: 1, model: 'flite' });
    expect(await store.cancel('two', id)).toBe('gone');
    expect(await store.cancel('one', id)).toBe('cancelling');
    expect(await store.close(id)).toBe('cancelling');
    expect(await store.record(id, 0, { result: SPOKEN })).toBe('closed');
    expect(await store.end(id, 'cancelled', {})).toBe('cancelled');
  });

  it('is listed by its tenant, the newest first, in pages', async () => {
    const later = [await create('one'), await create('two'), await create('one')];
    const first = await store.list('one', { limit: 2 });
    expect(first?.batches.map((batch) => batch.id)).toEqual([later[2], later[0]]);
    expect(first?.hasMore).toBe(true);
    const rest = await store.list('one', { limit: 2, after: later[0] });
    expect(rest?.batches.map((batch) => batch.id)).toEqual([id]);
    expect(rest?.hasMore).toBe(false);
    expect(await store.list('one', { limit: 2, after: later[1] })).toBeUndefined();
  });
});

/** As at its `maxmemory`: whatever needs memory is refused. */
async function whileFull(work: () => Promise<void>): Promise<void> {
  await redis.config('SET', 'maxmemory', '1');
  try {
    await expect(redis.set('a', 'b')).rejects.toThrow('OOM');
    await work();
  } finally {
    await redis.config('SET', 'maxmemory', '0');
  }
}

it('a tenant has as many batches that are not over as the caller allows', async () => {
  const second = await create('one');
  await create('two');
  const third = newBatch(createBatchId(), 'one');
  expect(await store.create(third, 2)).toBe('many');
  expect(await store.get('one', third.id)).toBeUndefined();
  expect(await store.create(newBatch(second, 'one'), 2)).toBe('known');
  await redis.zrem(OPEN_BATCHES_KEY, second);
  expect(await store.create(third, 2)).toBe('created');
});

describe('a full Redis', () => {
  it.each([
    ['finalizing', 'completed'],
    ['cancelling', 'cancelled'],
  ] as const)('has its batches end, and has room then: %s', async (between, end) => {
    await store.start(id, { total: 1, model: 'flite' });
    await store.record(id, 0, { result: SPOKEN });
    await whileFull(async () => {
      if (between === 'cancelling') await store.cancel('one', id);
      expect(await store.close(id)).toBe(between);
      expect(await store.record(id, 1, { result: SPOKEN })).toBe('closed');
      const [outputFile, errorFile] = [soundOf(id, 0), soundOf(id, 1)];
      expect(await store.end(id, end, { outputFile, errorFile })).toBe(end);
    });
    expect(await redis.exists(lineResultsKey(id))).toBe(0);
    expect(await files.get('one', lineFileId(id, 1))).toEqual(soundOf(id, 1));
    const { outputFileId, errorFileId } = (await store.get('one', id)) ?? {};
    expect([outputFileId, errorFileId]).toEqual([lineFileId(id, 0), lineFileId(id, 1)]);
  });
});

describe('a batch that is over', () => {
  it('is known for 90 days, and loses its place then', async () => {
    const failed = await create('one');
    await store.fail(failed, []);
    await store.cancel('one', id);
    expect(await redis.ttl(batchKey(id))).toBe(-1);
    await store.end(id, 'cancelled', {});
    for (const over of [id, failed]) {
      expect(await redis.ttl(batchKey(over))).toBeGreaterThan(89 * DAY);
      await redis.del(batchKey(over)); // as when it has expired
    }
    const later = [await create('one'), await create('one'), await create('one')];
    const page = await store.list('one', { limit: 2 });
    expect(page?.batches.map((batch) => batch.id)).toEqual([later[2], later[1]]);
    expect(page?.hasMore).toBe(true);
    expect(await redis.zrange(tenantBatchesKey('one'), '0', '-1')).toEqual(later);
  });

  it('that nobody drops is left out of the list', async () => {
    const later = [await create('one'), await create('one'), await create('one')];
    await redis.del(batchKey(later[1] ?? ''), batchKey(later[2] ?? ''));
    const page = await store.list('one', { limit: 2 });
    expect(page?.batches.map((batch) => batch.id)).toEqual([later[0], id]);
    expect(page?.hasMore).toBe(false);
  });

  it('has no results, also those that were recorded while its keeper was dead', async () => {
    await store.start(id, { total: 1, model: 'flite' });
    expect(await store.end(id, 'completed', {})).toBe('in_progress');
    await store.record(id, 0, { result: SPOKEN });
    await store.close(id);
    await store.end(id, 'completed', {});
    await redis.hset(lineResultsKey(id), '0', '{}');
    expect(await store.end(id, 'completed', {})).toBe('completed');
    expect(await redis.exists(lineResultsKey(id))).toBe(0);
  });
});

describe('a line', () => {
  it('has one result, whoever is late', async () => {
    await store.start(id, { total: 2, model: 'flite' });
    expect(await store.lineState(id, 0)).toBe('open');
    expect(await store.record(id, 0, { result: SPOKEN, file: soundOf(id, 0) })).toBe('recorded');
    expect(await store.record(id, 0, { result: FAILED })).toBe('known');
    expect(await store.lineState(id, 0)).toBe('done');
    expect(await store.record(id, 1, { result: FAILED })).toBe('recorded');
    expect(await store.get('one', id)).toMatchObject({ completed: 1, failed: 1 });
    expect(await store.results(id, [1, 0, 5])).toEqual([FAILED, SPOKEN, undefined]);
    expect(await store.doneLines(id)).toEqual(new Set([0, 1]));
    expect(await files.get('one', lineFileId(id, 0))).toEqual(soundOf(id, 0));
  });

  it('is not taken before the batch has begun nor after it is closed, and its file is unknown', async () => {
    const outcome = { result: SPOKEN, file: soundOf(id, 0) };
    expect(await store.lineState(id, 0)).toBe('over');
    expect(await store.record(id, 0, outcome)).toBe('closed');
    await store.start(id, { total: 1, model: 'flite' });
    await store.close(id);
    expect(await store.record(id, 0, outcome)).toBe('closed');
    expect(await store.record(createBatchId(), 0, outcome)).toBe('gone');
    expect(await files.get('one', lineFileId(id, 0))).toBeUndefined();
  });

  it('is still taken while the batch is being cancelled, but not begun', async () => {
    await store.start(id, { total: 1, model: 'flite' });
    await store.cancel('one', id);
    expect(await store.lineState(id, 0)).toBe('over');
    expect(await store.record(id, 0, { result: SPOKEN })).toBe('recorded');
  });

  it('leaves nothing in Redis when its batch is over', async () => {
    await store.start(id, { total: 1, model: 'flite' });
    await store.record(id, 0, { result: SPOKEN });
    await store.close(id);
    await store.end(id, 'completed', {});
    expect(await redis.keys('antiphon:batch:{*}:results')).toEqual([]);
  });
});
