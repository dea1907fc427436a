import { readFileSync } from 'node:fs';
import type { Redis } from 'ioredis';
import { throwStoreFault } from '../storage/store-fault.ts';
import {
  FILE_EXPIRY_KEY,
  FILE_SEQUENCE_KEY,
  fileKey,
  GONE_FILE_TTL_MS,
  goneFileKey,
  purposeFilesKey,
  tenantFilesKey,
} from './file-key.ts';
import { blobIdOf, fileIdOfBlob, type FileRecord, fileRecordSchema } from './file-record.ts';

/** Records that are read and written in one go. */
const CHANGED_AT_ONCE = 64;

interface ScriptedFiles extends Redis {
  antiphonAddFile(...keysAndValues: string[]): Promise<number>;
  antiphonForgetFile(...keysAndValues: string[]): Promise<number>;
}

export interface FilePage {
  files: FileRecord[];
  hasMore: boolean;
}

export interface FilePageOptions {
  purpose?: string | undefined;
  limit: number;
  order: 'asc' | 'desc';
  /** Id of the file that the page begins behind. */
  after?: string | undefined;
}

/**
 * Which files there are, in the queues' Redis. A file of another tenant and one that has expired
 * are as unknown as one that never was. All methods reject with `queue_unavailable` or `storage_full`.
 */
export class FileIndex {
  readonly #redis: ScriptedFiles;

  constructor(redis: Redis) {
    if (!('antiphonAddFile' in redis)) {
      const lua = `${ADD_FILE_LUA}return add_file(1, 1)`;
      redis.defineCommand('antiphonAddFile', { numberOfKeys: 5, lua });
      redis.defineCommand('antiphonForgetFile', { numberOfKeys: 5, lua: FORGET_FILE_LUA });
    }
    this.#redis = redis as ScriptedFiles;
  }

  /** The bytes are in the store already. False when the id is known: then nothing changes. */
  async add(record: FileRecord): Promise<boolean> {
    const added = await this.#redis
      .antiphonAddFile(...fileKeys(record), ...fileValues(record))
      .catch(throwStoreFault);
    return added === 1;
  }

  async get(tenantId: string, fileId: string): Promise<FileRecord | undefined> {
    const [record] = await this.#read([fileId]);
    return record?.tenantId === tenantId ? record : undefined;
  }

  /** Undefined when there is no file `after`, and was none an hour ago. */
  async list(tenantId: string, options: FilePageOptions): Promise<FilePage | undefined> {
    const { purpose, limit, order, after } = options;
    const key =
      purpose === undefined ? tenantFilesKey(tenantId) : purposeFilesKey(tenantId, purpose);
    const rank = after === undefined ? 0 : await this.#rankBehind(tenantId, after, { key, order });
    if (rank === undefined) return undefined;
    let start = rank;
    const files: FileRecord[] = [];
    // Some may have expired since: more are read until the page is full.
    while (files.length <= limit) {
      const end = start + limit;
      const fileIds = await (
        order === 'asc'
          ? this.#redis.zrange(key, String(start), String(end))
          : this.#redis.zrange(key, String(start), String(end), 'REV')
      ).catch(throwStoreFault);
      if (fileIds.length === 0) break;
      for (const record of await this.#read(fileIds)) if (record) files.push(record);
      start = end + 1;
    }
    return { files: files.slice(0, limit), hasMore: files.length > limit };
  }

  /** Resolves with the id of its blob, which is the caller's to delete; undefined when it is unknown. */
  async remove(tenantId: string, fileId: string): Promise<string | undefined> {
    const record = await this.get(tenantId, fileId);
    if (!record) return undefined;
    await this.#forget(record);
    return blobIdOf(record);
  }

  /** Whether it is the bytes of a file, whoever's that is and whether or not it has expired. */
  async hasBlob(blobId: string): Promise<boolean> {
    const [body] = await this.#bodies([fileIdOfBlob(blobId)]);
    const record = parseRecord(body);
    // A record that cannot be read may be of a later version.
    return record ? blobIdOf(record) === blobId : typeof body === 'string';
  }

  /** Forgets up to `limit` files that have expired; resolves with the ids of their blobs, which are the caller's to delete. */
  async takeExpired(limit: number): Promise<string[]> {
    const fileIds = await this.#redis
      .zrange(FILE_EXPIRY_KEY, '-inf', String(nowSeconds()), 'BYSCORE', 'LIMIT', 0, limit)
      .catch(throwStoreFault);
    const bodies = await this.#bodies(fileIds);
    const blobIds: string[] = [];
    for (const [position, fileId] of fileIds.entries()) {
      const record = parseRecord(bodies[position]);
      if (record) await this.#forget(record);
      else await this.#redis.zrem(FILE_EXPIRY_KEY, fileId).catch(throwStoreFault);
      blobIds.push(record ? blobIdOf(record) : fileId);
    }
    return blobIds;
  }

  /** From now on they expire then; those that are not there stay unknown. */
  async expireAt(fileIds: string[], expiresAtSeconds: number): Promise<void> {
    for (let from = 0; from < fileIds.length; from += CHANGED_AT_ONCE) {
      const some = fileIds.slice(from, from + CHANGED_AT_ONCE);
      const changes = this.#redis.pipeline();
      for (const record of (await this.#bodies(some)).map(parseRecord)) {
        if (!record) continue;
        changes.set(fileKey(record.id), JSON.stringify({ ...record, expiresAtSeconds }), 'XX');
        changes.zadd(FILE_EXPIRY_KEY, 'XX', expiresAtSeconds, record.id);
      }
      const answers = (await changes.exec().catch(throwStoreFault)) ?? [];
      for (const [error] of answers) if (error) throwStoreFault(error);
    }
  }

  async #read(fileIds: string[]): Promise<(FileRecord | undefined)[]> {
    const now = nowSeconds();
    return (await this.#bodies(fileIds)).map((body) => {
      const record = parseRecord(body);
      return record && (record.expiresAtSeconds ?? Infinity) > now ? record : undefined;
    });
  }

  async #bodies(fileIds: string[]): Promise<(string | null)[]> {
    if (fileIds.length === 0) return [];
    return this.#redis.mget(fileIds.map((fileId) => fileKey(fileId))).catch(throwStoreFault);
  }

  /** How many files of the list at `key` come before that behind `fileId`. */
  async #rankBehind(
    tenantId: string,
    fileId: string,
    { key, order }: { key: string; order: 'asc' | 'desc' },
  ): Promise<number | undefined> {
    const place =
      (await this.#redis.zscore(tenantFilesKey(tenantId), fileId).catch(throwStoreFault)) ??
      (await this.#redis.get(goneFileKey(tenantId, fileId)).catch(throwStoreFault));
    if (place === null) return undefined;
    const [first, last] = order === 'asc' ? ['-inf', place] : [place, '+inf'];
    return this.#redis.zcount(key, first, last).catch(throwStoreFault);
  }

  async #forget(record: FileRecord): Promise<void> {
    const { id, tenantId } = record;
    const keys = [...fileKeys(record).slice(0, 4), goneFileKey(tenantId, id)];
    await this.#redis
      .antiphonForgetFile(...keys, id, String(GONE_FILE_TTL_MS))
      .catch(throwStoreFault);
  }
}

/** For scripts that make files known in one step with something else; takes `fileKeys` and `fileValues`. */
export const ADD_FILE_LUA = readFileSync(new URL('add-file.lua', import.meta.url), 'utf8');
const FORGET_FILE_LUA = readFileSync(new URL('forget-file.lua', import.meta.url), 'utf8');

export const fileKeys = ({ id, tenantId, purpose }: FileRecord): string[] => [
  fileKey(id),
  tenantFilesKey(tenantId),
  purposeFilesKey(tenantId, purpose),
  FILE_EXPIRY_KEY,
  FILE_SEQUENCE_KEY,
];

export const fileValues = (record: FileRecord): string[] => [
  JSON.stringify(record),
  record.id,
  String(record.expiresAtSeconds ?? ''),
];

const nowSeconds = (): number => Math.floor(Date.now() / 1000);

function parseRecord(body: string | null | undefined): FileRecord | undefined {
  if (body === null || body === undefined) return undefined;
  return fileRecordSchema.safeParse(JSON.parse(body)).data;
}
