import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, rm, utimes } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { describeBlobStoreContract } from '@antiphon/testing/contracts/blob-store-contract';
import { type S3Server, startS3Server } from '@antiphon/testing/s3-server';
import { afterEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { commonConfig, loadConfig } from '../runtime/load-config.ts';
import type { BlobStore } from './blob-store.ts';
import { openBlobStore } from './open-blob-store.ts';

const TWO_HOURS_MS = 7_200_000;

async function open(environment: Record<string, string> = {}) {
  const server = await startS3Server({ pageSize: 2 });
  const { bucket } = server;
  const directory = await mkdtemp(join(tmpdir(), 'antiphon-s3-'));
  const schema = z.object(commonConfig);
  const given = { ...server.environment, S3_PREFIX: 'voice', DATA_DIR: directory, ...environment };
  const config = loadConfig(schema, given);
  return {
    ...{ server, directory, config, store: await openBlobStore(config, 'files') },
    async names() {
      const keys = [
        ...bucket.objects.keys(),
        ...[...bucket.uploads.values()].map(({ key }) => key),
      ];
      expect(keys.filter((key) => !key.startsWith('voice/files/'))).toEqual([]);
      return keys.map((key) => key.slice('voice/files/'.length)).toSorted();
    },
    async age() {
      for (const object of bucket.objects.values()) object.modifiedMs -= TWO_HOURS_MS;
      for (const upload of bucket.uploads.values()) upload.initiatedMs -= TWO_HOURS_MS;
    },
    async close() {
      await server.close();
      const copies = await readdir(join(directory, 'local-copies')).catch(() => []);
      expect(copies).toEqual([]);
      await rm(directory, { recursive: true });
    },
  };
}

describeBlobStoreContract('S3', open);

describe('a bucket', () => {
  let opened: Awaited<ReturnType<typeof open>>;
  let server: S3Server;
  let store: BlobStore;
  afterEach(() => opened.close());
  const start = async () => {
    opened = await open();
    ({ server, store } = opened);
  };
  const large = () => Readable.from([randomBytes(20_000_000)]);
  const isAway = { code: 'storage_unavailable', retryAfterSeconds: 1 };

  it('gets one request for a small blob, and parts for a large one', async () => {
    await start();
    await store.put(Readable.from(['abc']), 'small');
    await store.put(large(), 'large');
    const lines = server.requests.map((line) => line.replace(/uploadId=[^&]+/, 'uploadId='));
    expect(lines).toEqual([
      'HEAD /antiphon/',
      'PUT /antiphon/voice/files/small?x-id=PutObject',
      'POST /antiphon/voice/files/large?uploads=',
      ...[1, 2, 3].map(
        (part) => `PUT /antiphon/voice/files/large?partNumber=${part}&uploadId=&x-id=UploadPart`,
      ),
      'POST /antiphon/voice/files/large?uploadId=',
    ]);
  });

  it.each([
    ['the beginning', /^POST .*\?uploads/],
    ['a part', /partNumber=2/],
    ['the end', /^POST .*uploadId=/],
  ])('that fails at %s of an upload keeps nothing of it', async (_what, fault) => {
    await start();
    const source = large();
    server.decide((line) => (fault.test(line) ? 'error' : 'answer'));
    await expect(store.put(source)).rejects.toMatchObject(isAway);
    expect(source.destroyed).toBe(true);
    expect(await opened.names()).toEqual([]);
  });

  it('that fails once is asked again', async () => {
    await start();
    let count = 0;
    server.decide((line) =>
      line.includes('partNumber=2') && (count += 1) === 1 ? 'error' : 'answer',
    );
    await store.put(large(), 'large');
    expect([count, await opened.names()]).toEqual([2, ['large']]);
  });

  it('that breaks off in the middle of a blob is told', async () => {
    await start();
    const { blobId } = await store.put(Readable.from([randomBytes(100_000)]));
    server.decide(() => 'cut');
    const content = await store.get(blobId);
    await expect(buffer(content ?? Readable.from([]))).rejects.toThrow('aborted');
    await expect(store.local(blobId)).rejects.toMatchObject(isAway);
  });

  it('that is away is told by every method', async () => {
    await start();
    server.decide(() => 'error');
    const asked = [
      store.get('a'),
      store.local('a'),
      store.delete('a'),
      store.sweep(0),
      store.put(Readable.from(['a'])),
    ];
    for (const result of await Promise.allSettled(asked)) {
      expect(result).toMatchObject({ status: 'rejected', reason: isAway });
    }
  });

  it('that has no list of uploads is swept all the same', async () => {
    await start();
    server.decide((line) => (line.includes('?uploads') ? 'missing' : 'answer'));
    await store.put(Readable.from(['a']));
    await opened.age();
    expect(await store.sweep(3_600_000)).toBe(1);
    expect(server.requests.at(-1)).toMatch(/^GET .*[?&]uploads/);
  });

  it('tells a fault without its secrets', async () => {
    await start();
    server.decide(() => 'error');
    const fault = await store.get('a').catch((error: Error) => error);
    expect(fault).toMatchObject({ cause: 'S3: InternalError, HTTP 500' });
  });

  it.each([
    ['S3_SECRET_ACCESS_KEY', 'another-secret', /S3_BUCKET: antiphon cannot be used \(.*HTTP 403\)/],
    ['S3_ACCESS_KEY_ID', 'AKIAOTHER', /S3_BUCKET: antiphon cannot be used \(.*HTTP 403\)/],
    ['S3_BUCKET', 'missing', /S3_BUCKET: missing cannot be used \(.*HTTP 404\)/],
    ['S3_ENDPOINT', 'http://127.0.0.1:1', /S3_BUCKET: antiphon cannot be used \(.*ECONNREFUSED/],
  ])('that cannot be used for its %s stops the start', async (name, value, expected) => {
    await start();
    const config = loadConfig(z.object(commonConfig), {
      ...{ ...server.environment, DATA_DIR: opened.directory },
      [name]: value,
    });
    const refused = openBlobStore(config, 'blobs');
    await expect(refused).rejects.toThrow(expected);
    await expect(refused).rejects.not.toThrow(/another-secret/);
  });

  it('copies that a dead process left go at the next start', async () => {
    await start();
    const { blobId } = await store.put(Readable.from(['a']));
    const [old, fresh] = [await store.local(blobId), await store.local(blobId)];
    await utimes(old?.path ?? '', 1, 1);
    await openBlobStore(opened.config, 'files');
    expect(await readdir(join(opened.directory, 'local-copies'))).toHaveLength(1);
    await fresh?.release();
  });
});
