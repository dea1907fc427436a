import { setTimeout as delay } from 'node:timers/promises';
import { APIError } from 'openai';
import type { Api } from '../api.ts';
import { BrokenAnswer } from '../api-failure.ts';
import { CliError } from '../cli-error.ts';

interface BatchFault {
  code?: string | null;
  message?: string;
  line?: number | null;
}

/** A batch as the server tells it (contract, section 8), as far as it is used here. */
export interface Batch {
  id: string;
  endpoint: string;
  status: string;
  errors?: { data?: BatchFault[] } | null;
  input_file_id: string;
  output_file_id?: string | null;
  error_file_id?: string | null;
  created_at: number;
  request_counts?: { total: number; completed: number; failed: number };
}

const OVER = new Set(['completed', 'failed', 'expired', 'cancelled']);
export const isOver = ({ status }: Batch): boolean => OVER.has(status);

/** Tries of one download; each goes on where the one before broke off, after a pause that grows. */
const TRIES = 3;
const PAUSE_MS = 500;
/** How often a server with limits is waited for, and how long at most each time. */
const MOST_WAITS = 10;
const MOST_WAIT_SECONDS = 60;
const DELETES_AT_ONCE = 8;

export interface NewBatch {
  inputFileId: string;
  endpoint: string;
  /** `24h`: what is not done then is given up. */
  window: string;
  /** The same key makes the same batch again, where the server knows that. */
  key: string;
  /** Life of the files that the batch makes; the server's own unless told. */
  outputSeconds?: number;
}

export interface NewFile {
  file: File;
  purpose: 'batch' | 'user_data';
  /** When nobody deletes it; the server's own unless told: of `user_data`, for good. */
  lifeSeconds?: number;
}

/**
 * Files and batches of the server. All methods reject with what the SDK throws. A book has hundreds
 * of files: where a limit of requests says so, the next one waits.
 */
export class BatchClient {
  readonly #api: Api;
  #hasEvents = true;

  constructor(api: Api) {
    this.#api = api;
  }

  /** Returns the file's id. Of a file on disk only what is being sent is in memory. */
  async upload({ file, purpose, lifeSeconds }: NewFile, signal: AbortSignal): Promise<string> {
    const form = new FormData();
    form.set('purpose', purpose);
    if (lifeSeconds !== undefined) {
      form.set('expires_after[anchor]', 'created_at');
      form.set('expires_after[seconds]', String(lifeSeconds));
    }
    form.set('file', file, file.name);
    const { id } = await patiently(
      () => this.#api.client.post<{ id?: unknown }>('/files', { body: form, signal }),
      signal,
    );
    if (typeof id !== 'string') throw new BrokenAnswer('the server sent a file without an id');
    return id;
  }

  async create(batch: NewBatch, signal: AbortSignal): Promise<Batch> {
    const { inputFileId, endpoint, window, key, outputSeconds: seconds } = batch;
    const body = {
      ...{ input_file_id: inputFileId, endpoint, completion_window: window },
      ...(seconds === undefined ? {} : { output_expires_after: { anchor: 'created_at', seconds } }),
    };
    const headers = { 'idempotency-key': key };
    const create = () =>
      this.#api.client.post<unknown>('/batches', { ...{ body, headers, signal } });
    return checked(await patiently(create, signal));
  }

  async get(batchId: string, signal: AbortSignal): Promise<Batch> {
    const get = () => this.#api.client.get<unknown>(pathOf(batchId), { signal });
    return checked(await patiently(get, signal));
  }

  async cancel(batchId: string, signal: AbortSignal): Promise<Batch> {
    const cancel = () => this.#api.client.post<unknown>(`${pathOf(batchId)}/cancel`, { signal });
    return checked(await patiently(cancel, signal));
  }

  /** The newest first. */
  async list(limit: number, signal: AbortSignal): Promise<Batch[]> {
    const list = () =>
      this.#api.client.get<{ data?: unknown[] }>('/batches', { ...{ query: { limit }, signal } });
    const { data } = await patiently(list, signal);
    return (data ?? []).map(checked);
  }

  /** The batch as server-sent events; undefined when the server has none. */
  async events(
    batchId: string,
    signal: AbortSignal,
  ): Promise<AsyncIterable<Uint8Array> | undefined> {
    if (!this.#hasEvents) return undefined;
    const headers = { accept: 'text/event-stream' };
    const response = await this.#api.client
      .get(`${pathOf(batchId)}/events`, { headers, signal })
      .asResponse()
      .catch((thrown: unknown) => {
        const { status = 0 } = thrown instanceof APIError ? thrown : {};
        if (![404, 405, 501].includes(status)) throw thrown;
      });
    const type = response?.headers.get('content-type') ?? '';
    if (type.startsWith('text/event-stream') && response?.body) return response.body;
    await response?.body?.cancel();
    this.#hasEvents = false;
    return undefined;
  }

  /**
   * A file's bytes as they come. A connection that breaks off is made again where it stopped.
   * `bytes`: how many there have to be, when that is known; BrokenAnswer for any other number.
   */
  async *content(fileId: string, signal: AbortSignal, bytes?: number): AsyncGenerator<Uint8Array> {
    let offset = 0;
    for (let tried = 1; ; tried += 1) {
      try {
        for await (const part of await this.#body(fileId, offset, signal)) {
          offset += part.byteLength;
          yield part;
        }
        if (bytes === undefined || offset === bytes) return;
        throw new BrokenAnswer(`a file of ${bytes} bytes came as ${offset}`);
      } catch (thrown) {
        if (offset === bytes) return;
        const isRefused =
          thrown instanceof CliError || (thrown instanceof APIError && thrown.status !== undefined);
        if (isRefused || signal.aborted || tried === TRIES || offset > (bytes ?? Infinity)) {
          throw thrown;
        }
        await delay(PAUSE_MS * tried, undefined, { signal });
      }
    }
  }

  /** What cannot be deleted stays until it expires. */
  async deleteFiles(fileIds: readonly string[], signal: AbortSignal): Promise<void> {
    const left = [...fileIds];
    const deleteSome = async (): Promise<void> => {
      for (let id = left.shift(); id !== undefined && !signal.aborted; id = left.shift()) {
        const path = `/files/${encodeURIComponent(id)}`;
        const deletion = (): Promise<unknown> => this.#api.client.delete(path, { signal });
        await patiently(deletion, signal).catch(() => undefined);
      }
    };
    await Promise.all(Array.from({ length: DELETES_AT_ONCE }, deleteSome));
  }

  async #body(
    fileId: string,
    offset: number,
    signal: AbortSignal,
  ): Promise<AsyncIterable<Uint8Array>> {
    const range = offset === 0 ? {} : { range: `bytes=${offset}-` };
    const request = () =>
      this.#api.client
        .get(`/files/${encodeURIComponent(fileId)}/content`, {
          ...{ signal, headers: { accept: 'application/binary', ...range } },
        })
        .asResponse();
    const response = await patiently(request, signal);
    if (offset > 0 && response.status !== 206) {
      await response.body?.cancel();
      throw new CliError(
        'the connection broke off, and the server sends no part of a file',
        'ask again',
      );
    }
    return response.body ?? new Blob().stream();
  }
}

async function patiently<T>(request: () => Promise<T>, signal: AbortSignal): Promise<T> {
  for (let waits = 0; ; waits += 1) {
    try {
      return await request();
    } catch (thrown) {
      const isLimit = thrown instanceof APIError && thrown.status === 429;
      if (!isLimit || waits === MOST_WAITS) throw thrown;
      const told = Number(thrown.headers?.get('retry-after') ?? Number.NaN);
      const seconds = told >= 0 ? Math.min(told, MOST_WAIT_SECONDS) : waits + 1;
      await delay(seconds * 1000, undefined, { signal });
    }
  }
}

const pathOf = (batchId: string): string => `/batches/${encodeURIComponent(batchId)}`;

function checked(value: unknown): Batch {
  const { id, status } = (value ?? {}) as Partial<Batch>;
  if (typeof id === 'string' && typeof status === 'string') return value as Batch;
  throw new BrokenAnswer('the server sent something that is no batch');
}
