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
import { type Argument, defineBatchScripts, type ScriptedBatches } from './batch-scripts.ts';
import { type LineResult, lineResultSchema } from './line-result.ts';

/** A batch that is over is known for so long. */
const ENDED_LIFE_SECONDS = 90 * 86_400;
/** Of a batch that failed: it is kept as long as the others. */
const MAX_FAULT_BYTES = 16_384;
/** More than the one that comes. */
const FORGOTTEN_AT_ONCE = 4;

export interface BatchPage {
  batches: BatchRecord[];
  hasMore: boolean;
}

/** What a batch ends with. */
export interface BatchFiles {
  outputFile?: FileRecord | undefined;
  errorFile?: FileRecord | undefined;
  usage?: BatchUsage | undefined;
}

interface Move {
  /** Blank between. */
  from: string;
  to: BatchStatus;
  /** The field that notes the time. */
  at: string;
  tenantId?: string;
  /** How long it is known from now on. */
  lifeSeconds?: number;
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

  /**
   * A new batch, `validating`; nobody keeps it yet. 'many': the tenant has `mostOpen` that are not
   * over (0: any number), or were only just; 'known': it was made before.
   */
  async create({ windowSeconds, metadata, requestId, ...batch }: NewBatch, mostOpen = 0) {
    const { id, tenantId, ...rest } = batch;
    await this.#dropForgotten(tenantId);
    const keys = [batchKey(id), tenantBatchesKey(tenantId), OPEN_BATCHES_KEY, BATCH_SEQUENCE_KEY];
    const fields = {
      ...{ tenantId, ...rest },
      ...(metadata === undefined ? {} : { metadata: JSON.stringify(metadata) }),
      ...(requestId === undefined ? {} : { requestId }),
    };
    return this.#redis
      .antiphonCreateBatch(...keys, id, windowSeconds, mostOpen, ...Object.entries(fields).flat())
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
    const batches: BatchRecord[] = [];
    // Some may not be known any more: more are read until the page is full.
    for (let start = rank + 1; batches.length <= limit; start += limit + 1) {
      const ids = await this.#redis
        .zrange(key, String(start), String(start + limit), 'REV')
        .catch(throwStoreFault);
      if (ids.length === 0) break;
      const records = await Promise.all(ids.map((batchId) => this.find(batchId)));
      batches.push(...records.filter((record) => record !== undefined));
    }
    return { batches: batches.slice(0, limit), hasMore: batches.length > limit };
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

  /** Its input cannot be worked on: the first of the faults, as many as there is room for. */
  async fail(batchId: string, faults: BatchFault[]) {
    return this.#move(
      batchId,
      { from: 'validating', to: 'failed', at: 'failedAt', lifeSeconds: ENDED_LIFE_SECONDS },
      { faults: `[${fitting(faults.map((fault) => JSON.stringify(fault))).join()}]` },
    );
  }

  /**
   * What it needs for its files is gone, and it is closed: it is over without them, and what its
   * lines gave is forgotten. First that, since a batch that is over has no keeper.
   */
  async lose(batchId: string, fault: BatchFault): Promise<BatchStatus | 'gone'> {
    await this.#redis.del(lineResultsKey(batchId)).catch(throwStoreFault);
    return this.#move(
      batchId,
      {
        ...{ from: 'finalizing cancelling', to: 'failed', at: 'failedAt' },
        lifeSeconds: ENDED_LIFE_SECONDS,
      },
      { faults: JSON.stringify([fault]) },
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
    if (status !== 'cancelling') return status;
    return this.#move(batchId, { from: status, to: status, at: 'closed' }, {});
  }

  /**
   * Its files' bytes are there: it is over, in one step its files are known and what its lines gave
   * is forgotten. Returns the status that it has now.
   */
  async end(
    batchId: string,
    to: 'completed' | 'expired' | 'cancelled',
    { outputFile, errorFile, usage }: BatchFiles,
  ): Promise<BatchStatus | 'gone'> {
    const keys = [batchKey(batchId), lineResultsKey(batchId)];
    const values = [
      to,
      batchChannel(batchId),
      ENDED_LIFE_SECONDS,
      usage ? JSON.stringify(usage) : '',
    ];
    for (const [field, file] of Object.entries({
      outputFileId: outputFile,
      errorFileId: errorFile,
    })) {
      if (!file) continue;
      keys.push(...fileKeys(file));
      values.push(field, ...fileValues(file));
    }
    return this.#redis.antiphonEndBatch(keys.length, ...keys, ...values).catch(throwStoreFault);
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

  /** Of the oldest some, so that a tenant's list grows no longer than what is known of its batches. */
  async #dropForgotten(tenantId: string): Promise<void> {
    const key = tenantBatchesKey(tenantId);
    const oldest = await this.#redis
      .zrange(key, '0', String(FORGOTTEN_AT_ONCE - 1))
      .catch(throwStoreFault);
    for (const batchId of oldest) {
      const known = await this.#redis.exists(batchKey(batchId)).catch(throwStoreFault);
      if (known === 0) await this.#redis.zrem(key, batchId).catch(throwStoreFault);
    }
  }

  async #move(
    batchId: string,
    { from, to, at, tenantId = '*', lifeSeconds }: Move,
    fields: Record<string, Argument>,
  ): Promise<BatchStatus | 'gone'> {
    return this.#redis
      .antiphonMoveBatch(
        batchKey(batchId),
        ...[from, to, tenantId, batchChannel(batchId), at, lifeSeconds ?? ''],
        ...Object.entries(fields).flat(),
      )
      .catch(throwStoreFault);
  }
}

function fitting(faults: string[]): string[] {
  let bytes = 0;
  return faults.filter((fault) => (bytes += Buffer.byteLength(fault)) <= MAX_FAULT_BYTES);
}
