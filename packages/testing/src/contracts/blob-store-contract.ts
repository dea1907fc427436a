import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { BlobStore } from '@antiphon/shared/storage/blob-store';
import { until } from '../until.ts';

/** A store, and a look behind it. */
export interface OpenedBlobStore {
  store: BlobStore;
  /** Names of all that lies there, what is being written included. */
  names(): Promise<string[]>;
  /** Makes all that lies there two hours older. */
  age(): Promise<void>;
  close(): Promise<void>;
}

/** More than one part of an upload. */
const LARGE_BYTES = 20_000_000;

/** In pieces of no round size. */
async function* pieces(bytes: Buffer): AsyncGenerator<Buffer> {
  for (let start = 0; start < bytes.length; start += 65_537) {
    yield bytes.subarray(start, start + 65_537);
  }
}

async function* breakingAfter(byteCount: number): AsyncGenerator<Buffer> {
  yield* pieces(randomBytes(byteCount));
  throw new TypeError('cut');
}

/** The rules of `BlobStore`, for any of them. */
export function describeBlobStoreContract(
  name: string,
  open: () => Promise<OpenedBlobStore>,
): void {
  describe(`${name} keeps the blob store's contract`, () => {
    let opened: OpenedBlobStore;
    let store: BlobStore;
    beforeEach(async () => {
      opened = await open();
      ({ store } = opened);
    });
    afterEach(() => opened.close());

    const put = (text: string, blobId?: string) => store.put(Readable.from([text]), blobId);
    const read = async (...given: Parameters<BlobStore['get']>) => {
      const content = await store.get(...given);
      return content && (await buffer(content)).toString();
    };

    it.each(['', 'abc'])("gives back '%s', and forgets it when deleted", async (text) => {
      const { blobId, sizeBytes } = await store.put(
        Readable.from(text === '' ? [] : [Buffer.from('ab'), 'c']),
      );
      expect(sizeBytes).toBe(text.length);
      expect(await read(blobId)).toBe(text);
      await store.delete(blobId);
      expect(await read(blobId)).toBeUndefined();
      expect(await store.local(blobId)).toBeUndefined();
      await store.delete(blobId);
      expect(await opened.names()).toEqual([]);
    });

    it('takes a large one as it comes', async () => {
      const bytes = randomBytes(LARGE_BYTES);
      const { blobId, sizeBytes } = await store.put(Readable.from(pieces(bytes)));
      expect(sizeBytes).toBe(LARGE_BYTES);
      const content = await store.get(blobId);
      expect(content && bytes.equals(await buffer(content))).toBe(true);
      const part = await store.get(blobId, { start: 8_388_607, end: 8_388_700 });
      expect(part && bytes.subarray(8_388_607, 8_388_701).equals(await buffer(part))).toBe(true);
    });

    it.each([0, 1000, LARGE_BYTES])(
      'leaves nothing when the source fails after %d bytes',
      async (byteCount) => {
        await expect(store.put(Readable.from(breakingAfter(byteCount)))).rejects.toThrow('cut');
        expect(await opened.names()).toEqual([]);
      },
    );

    it('shows nothing of a blob before its end', async () => {
      const source = new Readable({ read: () => undefined });
      const written = store.put(source, 'slow');
      source.push(randomBytes(LARGE_BYTES));
      await until(async () => (await opened.names()).length === 1, {
        what: 'a blob that is begun',
      });
      expect(await read('slow')).toBeUndefined();
      source.push(null);
      await written;
      expect(await opened.names()).toEqual(['slow']);
    });

    it('takes no path for an id', async () => {
      for (const blobId of ['../../etc/passwd', '..', 'a/b', '']) {
        expect(await read(blobId)).toBeUndefined();
        expect(await store.local(blobId)).toBeUndefined();
        await store.delete(blobId);
        await expect(put('a', blobId)).rejects.toThrow('not a blob id');
      }
      expect(await opened.names()).toEqual([]);
    });

    it('replaces a blob that has a name', async () => {
      await put('the first', 'batch_1-7');
      expect(await put('the second', 'batch_1-7')).toEqual({ blobId: 'batch_1-7', sizeBytes: 10 });
      expect(await opened.names()).toEqual(['batch_1-7']);
      expect(await read('batch_1-7')).toBe('the second');
    });

    it('reads a part', async () => {
      const { blobId } = await put('0123456789');
      expect(await read(blobId, { start: 2, end: 5 })).toBe('2345');
      expect(await read(blobId, { start: 9, end: 9 })).toBe('9');
      expect(await read('unknown', { start: 2, end: 5 })).toBeUndefined();
    });

    it('gives a file of it', async () => {
      const { blobId } = await put('recording');
      const [one, other] = [await store.local(blobId), await store.local(blobId)];
      expect(one && (await readFile(one.path, 'utf8'))).toBe('recording');
      await one?.release();
      expect(other && (await readFile(other.path, 'utf8'))).toBe('recording');
      await other?.release();
      expect(await read(blobId)).toBe('recording');
    });

    it('sweeps what is old but for what is kept', async () => {
      for (const blobId of ['old', 'older', 'kept']) await put(blobId, blobId);
      await opened.age();
      await put('new', 'fresh');
      const isKept = async (blobId: string) => blobId === 'kept';
      expect(await store.sweep(3_600_000, isKept)).toBe(2);
      expect(await opened.names()).toEqual(['fresh', 'kept']);
      expect(await store.sweep(3_600_000)).toBe(1);
      expect(await opened.names()).toEqual(['fresh']);
    });

    it('sweeps what was never written to its end', async () => {
      const source = new Readable({ read: () => undefined });
      const written = store.put(source).catch(() => 'broken');
      source.push(randomBytes(LARGE_BYTES));
      await until(async () => (await opened.names()).length === 1, {
        what: 'a blob that is begun',
      });
      await opened.age();
      expect(await store.sweep(3_600_000, () => true)).toBe(0);
      expect(await opened.names()).toEqual([]);
      source.destroy(new Error('its process died'));
      expect(await written).toBe('broken');
    });
  });
}
