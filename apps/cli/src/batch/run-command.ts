import { randomUUID } from 'node:crypto';
import { createReadStream, openAsBlob } from 'node:fs';
import { stat } from 'node:fs/promises';
import { basename, extname, resolve } from 'node:path';
import { CliError, USAGE_EXIT } from '../cli-error.ts';
import type { CliContext } from '../context.ts';
import { checkWhole, type BatchWork, followBatch, withBatches } from './follow-batch.ts';
import { fetchResults, makeFolder } from './fetch-results.ts';
import { textLines } from './jsonl.ts';
import { counted } from './progress.ts';

export interface RunOptions {
  /** Left out: the `url` of the first line. */
  endpoint?: string;
  /** Left out: the requests' name without its ending. */
  out?: string;
}

/** Uploads requests, runs them as a batch and fetches the results. Returns the exit code; throws a CliError. */
export async function runRequests(
  context: CliContext,
  path: string,
  options: RunOptions,
): Promise<number> {
  const absolute = resolve(context.directory, path);
  const endpoint = options.endpoint ?? (await firstUrl(absolute, path));
  const out = options.out ?? basename(path, extname(path));
  const folder = await makeFolder(context.directory, out);
  return withBatches(context, async (work) => {
    const { client, signal } = work;
    const name = `${basename(path, extname(path))}.jsonl`;
    const file = new File([await openAsBlob(absolute)], name);
    const inputFileId = await client.upload(file, 'batch', signal);
    const { id } = await client.create({ inputFileId, endpoint, key: randomUUID() }, signal);
    context.terminal.notice(`${id} has begun`);
    return endWith(work, id, { folder, out });
  });
}

/** Waits for a batch's end and fetches its results. Returns the exit code; throws a CliError. */
export async function fetchBatch(
  context: CliContext,
  batchId: string,
  { out = batchId }: { out?: string },
): Promise<number> {
  return withBatches(context, async (work) => {
    // An unknown batch leaves no folder.
    await work.client.get(batchId, work.signal);
    return endWith(work, batchId, { folder: await makeFolder(context.directory, out), out });
  });
}

async function endWith(
  work: BatchWork,
  batchId: string,
  { folder, out }: { folder: string; out: string },
): Promise<number> {
  work.onStop(() => goesOn(batchId, out));
  const batch = await followBatch(work, batchId);
  const count = await fetchResults(work, batch, folder);
  checkWhole(batch, `see ${out}`);
  const total = batch.request_counts?.total ?? 0;
  const files = count === 0 ? '' : `, ${counted(count, 'file')}`;
  work.context.terminal.notice(`${counted(total, 'line')}${files}, in ${folder}`);
  return 0;
}

/** Read by whoever has pressed Ctrl-C. */
export function goesOn(batchId: string, out: string): string {
  const fetch = `batch fetch ${batchId} --out ${out}`;
  return `${batchId} goes on on the server: ${fetch} comes back to it, batch cancel ${batchId} ends it`;
}

async function firstUrl(absolute: string, path: string): Promise<string> {
  const fault = (why: string, advice: string, cause?: unknown): CliError =>
    new CliError(why, advice, { exitCode: USAGE_EXIT, cause });
  const found = await stat(absolute).catch((cause: NodeJS.ErrnoException) => {
    throw new CliError(`'${path}' cannot be read (${cause.code})`, 'name a file of requests', {
      cause,
    });
  });
  if (!found.isFile()) throw fault(`'${path}' is no file`, 'name a file of requests');
  for await (const line of textLines(createReadStream(absolute))) {
    try {
      const { url } = JSON.parse(line) as { url?: unknown };
      if (typeof url === 'string') return url;
    } catch (cause) {
      throw fault(`line 1 of '${path}' is no JSON`, 'write one request per line', cause);
    }
    throw fault(`line 1 of '${path}' has no url`, 'add it, or give --endpoint');
  }
  throw fault(`'${path}' is empty`, 'write one request per line');
}
