import { readFileSync } from 'node:fs';
import type { Redis } from 'ioredis';
import { fileKeys, fileValues } from '../files/file-index.ts';
import type { FileRecord } from '../files/file-record.ts';
import { throwStoreFault } from '../storage/store-fault.ts';
import type { BatchFault } from './batch-fault.ts';
import {
  BATCH_SEQUENCE_KEY,
  batchChannel,
  batchKey,
  lineResultsKey,
  OPEN_BATCHES_KEY,
  tenantBatchesKey,
} from './batch-key.ts';
import {
  type BatchRecord,
  batchRecordSchema,
  type BatchRoute,
  type BatchStatus,
  type BatchUsage,
  type NewBatch,
} from './batch-record.ts';
import { type LineResult, lineResultSchema } from './line-result.ts';

type Argument = string | number;

interface ScriptedBatches extends Redis {
  antiphonCreateBatch(...keysAndValues: Argument[]): Promise<number>;
  antiphonMoveBatch(...keysAndValues: Argument[]): Promise<BatchStatus | 'gone'>;
  antiphonRecordLine(
    keyCount: number,
    ...keysAndValues: Argument[]
  ): Promise<'recorded' | 'known' | 'closed' | 'gone'>;
}

/** `undefined`: as many as the caller gives first. */
const KEY_COUNTS = { createBatch: 4, moveBatch: 1, recordLine: undefined };

export interface BatchPage {
  batches: BatchRecord[];
  hasMore: boolean;
}

/** What a batch ends with. */
export interface BatchFiles {
  outputFileId?: string | undefined;
  errorFileId?: string | undefined;
  usage?: BatchUsage | undefined;
}

/** Whether a line is still to be done. */
export type LineState = 'open' | 'done' | 'over';

/** A line's result, and the file that it has made. */
export interface LineOutcome {
  result: LineResult;
  file?: FileRecord | undefined;
}

/**
 * All that is known of batches, in the queues' Redis: any process may die at any time. A batch of
 * another tenant is as unknown as one that never was. All methods reject with `queue_unavailable`
 * or `storage_full`.
 */
export class BatchStore {
  readonly #redis: ScriptedBatches;

  constructor(redis: Redis) {
    this.#redis = defineBatchScripts(redis);
  }

  /** A new batch, `validating`; nobody keeps it yet. */
  async create({ windowSeconds, metadata, requestId, ...batch }: NewBatch): Promise<void> {
    const { id, tenantId, ...rest } = batch;
    const keys = [batchKey(id), tenantBatchesKey(tenantId), OPEN_BATCHES_KEY, BATCH_SEQUENCE_KEY];
    const fields = {
      ...{ tenantId, ...rest },
      ...(metadata === undefined ? {} : { metadata: JSON.stringify(metadata) }),
      ...(requestId === undefined ? {} : { requestId }),
    };
    await this.#redis
      .antiphonCreateBatch(...keys, id, windowSeconds, ...Object.entries(fields).flat())
      .catch(throwStoreFault);
  }

  async get(tenantId: string, batchId: string): Promise<BatchRecord | undefined> {
    const record = await this.find(batchId);
    return record?.tenantId === tenantId ? record : undefined;
  }

  /** Whoever's it is: for who runs it. */
  async find(batchId: string): Promise<BatchRecord | undefined> {
    const fields = await this.#redis.hgetall(batchKey(batchId)).catch(throwStoreFault);
    return batchRecordSchema.safeParse(fields).data;
  }

  /** The newest first. Undefined when there is no batch `after`. */
  async list(
    tenantId: string,
    { limit, after }: { limit: number; after?: string | undefined },
  ): Promise<BatchPage | undefined> {
    const key = tenantBatchesKey(tenantId);
    const rank =
      after === undefined ? -1 : await this.#redis.zrevrank(key, after).catch(throwStoreFault);
    if (rank === null) return undefined;
    const ids = await this.#redis
      .zrange(key, String(rank + 1), String(rank + 1 + limit), 'REV')
      .catch(throwStoreFault);
    const records = await Promise.all(ids.slice(0, limit).map((batchId) => this.find(batchId)));
    return {
      batches: records.filter((record) => record !== undefined),
      hasMore: ids.length > limit,
    };
  }

  /** Its lines are good, and may be worked on. Returns the status that it has now. */
  async start(batchId: string, { total, model }: { total: number; model: string }) {
    return this.#move(
      batchId,
      { from: 'validating', to: 'in_progress', at: 'inProgressAt' },
      { total, model },
    );
  }

  /** Where its lines go. Returns what was chosen first, maybe by another gateway; undefined for an unknown batch. */
  async choose(batchId: string, route: BatchRoute): Promise<BatchRoute | undefined> {
    const key = batchKey(batchId);
    await this.#redis.hsetnx(key, 'route', JSON.stringify(route)).catch(throwStoreFault);
    return (await this.find(batchId))?.route;
  }

  /** Its input cannot be worked on. */
  async fail(batchId: string, faults: BatchFault[]) {
    return this.#move(
      batchId,
      { from: 'validating', to: 'failed', at: 'failedAt' },
      { faults: JSON.stringify(faults) },
    );
  }

  /** 'gone' for an unknown or another tenant's one; else the status that it has now. */
  async cancel(tenantId: string, batchId: string) {
    const move = { from: 'validating in_progress', to: 'cancelling', at: 'cancellingAt' } as const;
    return this.#move(batchId, { ...move, tenantId }, {});
  }

  /**
   * From now on no line's result is taken: its files can be written. A batch that is being
   * cancelled stays so until they are.
   */
  async close(batchId: string) {
    const status = await this.#move(
      batchId,
      { from: 'in_progress', to: 'finalizing', at: 'finalizingAt' },
      { closed: '1' },
    );
    if (status === 'cancelling')
      await this.#redis.hset(batchKey(batchId), 'closed', '1').catch(throwStoreFault);
    return status;
  }

  /** Its files are there: it is over, and what its lines gave is forgotten. */
  async end(
    batchId: string,
    to: 'completed' | 'expired' | 'cancelled',
    { usage, ...files }: BatchFiles,
  ) {
    const at = `${to}At` as const;
    const counted = usage && JSON.stringify(usage);
    const given = Object.entries({ ...files, usage: counted }).filter(
      (entry): entry is [string, string] => entry[1] !== undefined,
    );
    const status = await this.#move(
      batchId,
      { from: 'finalizing cancelling', to, at },
      Object.fromEntries(given),
    );
    await this.#redis.del(lineResultsKey(batchId)).catch(throwStoreFault);
    return status;
  }

  /** A worker's first act. */
  async lineState(batchId: string, line: number): Promise<LineState> {
    const [[status, closed], known] = await Promise.all([
      this.#redis.hmget(batchKey(batchId), 'status', 'closed'),
      this.#redis.hexists(lineResultsKey(batchId), String(line)),
    ]).catch(throwStoreFault);
    if (status !== 'in_progress' || closed) return 'over';
    return known === 1 ? 'done' : 'open';
  }

  /** 'recorded' for the first result of a line; for every other one what it made is the caller's to delete. */
  async record(batchId: string, line: number, { result, file }: LineOutcome) {
    const keys = [batchKey(batchId), lineResultsKey(batchId), ...(file ? fileKeys(file) : [])];
    const count = result.type === 'error' ? 'failed' : 'completed';
    return this.#redis
      .antiphonRecordLine(
        keys.length,
        ...keys,
        ...[line, JSON.stringify(result), count, batchChannel(batchId)],
        ...(file ? fileValues(file) : []),
      )
      .catch(throwStoreFault);
  }

  /** The numbers of all lines that have a result. */
  async doneLines(batchId: string): Promise<Set<number>> {
    const lines = await this.#redis.hkeys(lineResultsKey(batchId)).catch(throwStoreFault);
    return new Set(lines.map(Number));
  }

  /** In the order asked for; undefined for a line without one. */
  async results(batchId: string, lines: number[]): Promise<(LineResult | undefined)[]> {
    if (lines.length === 0) return [];
    const bodies = await this.#redis
      .hmget(lineResultsKey(batchId), ...lines.map(String))
      .catch(throwStoreFault);
    return bodies.map((body) =>
      body === null ? undefined : lineResultSchema.safeParse(JSON.parse(body)).data,
    );
  }

  async #move(
    batchId: string,
    {
      from,
      to,
      at,
      tenantId = '*',
    }: { from: string; to: BatchStatus; at: string; tenantId?: string },
    fields: Record<string, Argument>,
  ): Promise<BatchStatus | 'gone'> {
    return this.#redis
      .antiphonMoveBatch(
        batchKey(batchId),
        ...[from, to, tenantId, batchChannel(batchId), at],
        ...Object.entries(fields).flat(),
      )
      .catch(throwStoreFault);
  }
}

function defineBatchScripts(redis: Redis): ScriptedBatches {
  for (const [name, numberOfKeys] of Object.entries(KEY_COUNTS)) {
    const command = `antiphon${name.charAt(0).toUpperCase()}${name.slice(1)}`;
    if (command in redis) continue;
    const file = name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    const lua = readFileSync(new URL(`${file}.lua`, import.meta.url), 'utf8');
    redis.defineCommand(command, numberOfKeys === undefined ? { lua } : { numberOfKeys, lua });
  }
  return redis as ScriptedBatches;
}
