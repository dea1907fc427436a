import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import type { Reply } from './reply.ts';
import { DEFAULT_TRANSCRIPT } from './script.ts';
import { spokenPcm } from './speech.ts';

export interface BatchOptions {
  /** How long each line takes; 0 unless told. */
  lineMs?: number;
  /** No line is done before it, unless its batch is cancelled. */
  hold?: Promise<unknown>;
  /** False: there is no route for events, as elsewhere. */
  events?: boolean;
  /** What is wrong with a line: its message; `tried` counts from 1, over all batches. */
  failLine?: (body: Record<string, unknown>, tried: number) => string | undefined;
  /** What is wrong with the third line, so that no line is worked on. */
  failInput?: string;
  /** A longer file fails. */
  maxLines?: number;
  /** How many lines of each batch are done before its window is over. */
  linesInWindow?: number;
}

export interface StoredFile {
  id: string;
  name: string;
  purpose: string;
  bytes: Buffer;
}

export interface StoredBatch {
  id: string;
  endpoint: string;
  status: string;
  inputFileId: string;
  outputFileId: string | null;
  errorFileId: string | null;
  completed: number;
  failed: number;
  total: number;
  fault: { code: string | null; message: string; line: number | null } | null;
}

interface RequestLine {
  custom_id: string;
  body: Record<string, unknown>;
}

/** Files and batches (contract, sections 7 and 8), in memory. */
export class Batches {
  readonly files = new Map<string, StoredFile>();
  readonly batches = new Map<string, StoredBatch>();
  readonly #options: BatchOptions;
  readonly #closed = new AbortController();
  readonly #cancelled = new Map<string, AbortController>();
  readonly #tried = new Map<string, number>();
  #count = 0;

  readonly #isThere: boolean;

  /** Without options there are no such routes. */
  constructor(options: BatchOptions | undefined) {
    this.#isThere = options !== undefined;
    this.#options = options ?? {};
  }

  close(): void {
    this.#closed.abort();
  }

  /** Whether this was a request for files or batches, and is answered. */
  async answer(reply: Reply): Promise<boolean> {
    if (!this.#isThere) return false;
    const { method, path } = reply.request;
    const [, kind, id = '', action] = path.split('/').map(decodeURIComponent);
    if (kind === 'files') await this.#answerFile(reply, { method, id, action });
    else if (kind === 'batches') return this.#answerBatch(reply, { method, id, action });
    else return false;
    return true;
  }

  async #answerFile(reply: Reply, { method, id, action }: Route): Promise<void> {
    if (method === 'POST') return this.#upload(reply);
    const file = this.files.get(id);
    if (!file) return notFound(reply, `No such File object: ${id}`);
    if (method === 'DELETE') {
      this.files.delete(id);
      return reply.json(200, { id, object: 'file', deleted: true });
    }
    if (action === 'content') return sendContent(reply, file);
    return reply.json(200, fileObject(file));
  }

  async #upload(reply: Reply): Promise<void> {
    const [upload] = reply.request.files['file'] ?? [];
    const purpose = reply.request.fields['purpose']?.[0] ?? '';
    const file = this.#store(upload?.name ?? '', purpose, upload?.bytes ?? Buffer.alloc(0));
    return reply.json(200, fileObject(file));
  }

  async #answerBatch(reply: Reply, { method, id, action }: Route): Promise<boolean> {
    if (method === 'POST' && id === '') {
      await reply.json(200, batchObject(this.#create(reply.request.body)));
    } else if (id === '') {
      const data = [...this.batches.values()].toReversed().map(batchObject);
      await reply.json(200, { object: 'list', data, has_more: false });
    } else {
      const batch = this.batches.get(id);
      if (action === 'events' && this.#options.events === false) return false;
      if (!batch) await notFound(reply, `No such Batch object: ${id}`);
      else if (action === 'events') await this.#sendEvents(reply, batch);
      else {
        if (action === 'cancel') this.#cancel(batch);
        await reply.json(200, batchObject(batch));
      }
    }
    return true;
  }

  #cancel(batch: StoredBatch): void {
    if (!OVER.has(batch.status)) batch.status = 'cancelling';
    this.#cancelled.get(batch.id)?.abort();
  }

  async #sendEvents(reply: Reply, batch: StoredBatch): Promise<void> {
    await reply.head(200, { 'content-type': 'text/event-stream' });
    for (let told = ''; ;) {
      const now = JSON.stringify(batchObject(batch));
      if (now !== told) await reply.token(Buffer.from(`data: ${now}\n\n`));
      else await reply.write(Buffer.from(': keepalive\n\n'));
      told = now;
      if (OVER.has(batch.status)) break;
      await reply.wait(20);
    }
    await reply.write(Buffer.from('data: [DONE]\n\n'));
    reply.end();
  }

  #create(body: unknown): StoredBatch {
    const { input_file_id: inputFileId, endpoint } = body as Record<string, string>;
    const batch: StoredBatch = {
      ...{ id: `batch_${(this.#count += 1)}`, endpoint: endpoint ?? '', status: 'validating' },
      ...{ inputFileId: inputFileId ?? '', outputFileId: null, errorFileId: null },
      ...{ completed: 0, failed: 0, total: 0, fault: null },
    };
    this.batches.set(batch.id, batch);
    this.#cancelled.set(batch.id, new AbortController());
    void this.#run(batch).catch(() => undefined);
    return batch;
  }

  async #run(batch: StoredBatch): Promise<void> {
    const input = this.files.get(batch.inputFileId)?.bytes.toString() ?? '';
    const lines = input
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line) as RequestLine);
    const { failInput, maxLines = Infinity, linesInWindow = Infinity } = this.#options;
    if (failInput !== undefined) batch.fault = { code: null, message: failInput, line: 3 };
    if (lines.length > maxLines) {
      batch.fault = { code: 'too_many_tasks', message: 'Too many lines.', line: null };
    }
    if (batch.fault) {
      batch.status = 'failed';
      return;
    }
    Object.assign(batch, { total: lines.length, status: 'in_progress' });
    const output: object[] = [];
    const errors: object[] = [];
    for (const line of lines) {
      const isLate = batch.completed + batch.failed >= linesInWindow;
      if (isLate) batch.status = 'finalizing';
      else if (!isCancelling(batch)) await this.#takeTime(batch);
      this.#runLine(batch, line, { output, errors });
    }
    batch.outputFileId = this.#storeLines(output);
    batch.errorFileId = this.#storeLines(errors);
    const isLate = batch.completed + batch.failed < lines.length;
    batch.status = isCancelling(batch) ? 'cancelled' : isLate ? 'expired' : 'completed';
  }

  /** Cut short when the batch is cancelled. */
  async #takeTime({ id }: StoredBatch): Promise<void> {
    const { lineMs = 0, hold } = this.#options;
    const signal = AbortSignal.any([
      this.#closed.signal,
      (this.#cancelled.get(id) ?? new AbortController()).signal,
    ]);
    const stopped = signal.aborted ? undefined : once(signal, 'abort');
    await Promise.race([hold, stopped]);
    await delay(lineMs, undefined, { signal }).catch(() => undefined);
    this.#closed.signal.throwIfAborted();
  }

  #runLine(
    batch: StoredBatch,
    { custom_id, body }: RequestLine,
    { output, errors }: { output: object[]; errors: object[] },
  ): void {
    const ids = { id: `batch_req_${custom_id}`, custom_id };
    if (isCancelling(batch) || batch.status === 'finalizing') {
      const code = isCancelling(batch) ? 'batch_cancelled' : 'batch_expired';
      const error = { code, message: 'Not done.' };
      errors.push({ ...ids, response: null, error });
      return;
    }
    const text = JSON.stringify(body);
    const tried = (this.#tried.get(text) ?? 0) + 1;
    this.#tried.set(text, tried);
    const message = this.#options.failLine?.(body, tried);
    const respond = (status_code: number, body: object): object => ({
      ...{ ...ids, response: { status_code, request_id: 'req_1', body }, error: null },
    });
    if (message === undefined) {
      batch.completed += 1;
      output.push(respond(200, this.#result(body)));
    } else {
      batch.failed += 1;
      errors.push(
        respond(500, { error: { message, type: 'server_error', param: null, code: null } }),
      );
    }
  }

  #result({ input, response_format: format, file_id: fileId }: Record<string, unknown>): object {
    if (typeof input === 'string') {
      const bytes = spokenPcm(input);
      const file = this.#store('speech', 'batch_output', bytes);
      const about = { object: 'audio.speech', format, bytes: bytes.byteLength };
      return { ...about, file_id: file.id };
    }
    const name = typeof fileId === 'string' ? this.files.get(fileId)?.name : undefined;
    const { text } = DEFAULT_TRANSCRIPT;
    if (name === undefined) return { object: 'chat.completion' };
    if (format !== 'srt') return { text: `${name}: ${text}` };
    return {
      text: `1\n00:00:00,000 --> 00:00:02,000\n${name}\n\n`,
      content_type: 'text/plain; charset=utf-8',
    };
  }

  #storeLines(lines: object[]): string | null {
    if (lines.length === 0) return null;
    const text = lines.map((line) => `${JSON.stringify(line)}\n`).join('');
    return this.#store('lines.jsonl', 'batch_output', Buffer.from(text)).id;
  }

  #store(name: string, purpose: string, bytes: Buffer): StoredFile {
    const file = { id: `file-${(this.#count += 1)}`, name, purpose, bytes };
    this.files.set(file.id, file);
    return file;
  }
}

interface Route {
  method: string;
  id: string;
  action: string | undefined;
}

const PIECE_BYTES = 4800;
const OVER = new Set(['completed', 'failed', 'expired', 'cancelled']);

/** It changes while it is run. */
const isCancelling = ({ status }: StoredBatch): boolean => status === 'cancelling';

const fileObject = ({ id, name, purpose, bytes }: StoredFile): object => ({
  ...{ id, object: 'file', bytes: bytes.byteLength, created_at: 0, filename: name, purpose },
});

const batchObject = (batch: StoredBatch): object => ({
  ...{ id: batch.id, object: 'batch', endpoint: batch.endpoint, status: batch.status },
  errors: batch.fault && { object: 'list', data: [batch.fault] },
  ...{ input_file_id: batch.inputFileId, output_file_id: batch.outputFileId },
  ...{ error_file_id: batch.errorFileId, created_at: 1_700_000_000 },
  request_counts: { total: batch.total, completed: batch.completed, failed: batch.failed },
});

async function sendContent(reply: Reply, { bytes }: StoredFile): Promise<void> {
  const start = Number(/^bytes=(\d+)-$/.exec(reply.request.headers.range ?? '')?.[1] ?? 0);
  const rest = bytes.subarray(start);
  await reply.head(start === 0 ? 200 : 206, {
    'content-type': 'application/octet-stream',
    'content-length': String(rest.byteLength),
  });
  for (let at = 0; at < rest.byteLength; at += PIECE_BYTES) {
    await reply.token(rest.subarray(at, at + PIECE_BYTES));
  }
  await reply.tokensDone();
  reply.end();
}

async function notFound(reply: Reply, message: string): Promise<void> {
  const error = { message, type: 'invalid_request_error', param: 'id', code: null };
  await reply.json(404, { error });
}
