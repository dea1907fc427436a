import { createHash } from 'node:crypto';
import { constants, createReadStream, openAsBlob } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { basename, extname, join, resolve } from 'node:path';
import { CliError, USAGE_EXIT } from '../cli-error.ts';
import type { CliContext } from '../context.ts';
import type { Batch } from './batch-client.ts';
import { beginBatch, begunPath, forgetBegun, whileThere } from './begun-batch.ts';
import { FOLDER_LOCK, takeLock } from './file-lock.ts';
import { checkWhole, type BatchWork, followBatch, withBatches } from './follow-batch.ts';
import { fetchResults, makeFolder } from './fetch-results.ts';
import { textLines } from './jsonl.ts';
import { counted } from './progress.ts';

export interface RunOptions {
  /** Left out: the `url` of the first line. */
  endpoint?: string;
  /** Left out: the requests' name without its ending. */
  out?: string;
  window: string;
}

/**
 * Uploads requests, runs them as a batch and fetches the results. The same requests into the same
 * folder go on with the batch that runs. Returns the exit code; throws a CliError.
 */
export async function runRequests(
  context: CliContext,
  path: string,
  options: RunOptions,
): Promise<number> {
  const absolute = resolve(context.directory, path);
  await checkFile(absolute, path);
  const { window, endpoint = await firstUrl(absolute, path) } = options;
  const out = options.out ?? basename(path, extname(path));
  const folder = await makeFolder(context.directory, out);
  const content = await hashOf(absolute);
  const state = begunPath(folder, [context.api.baseUrl, endpoint, window, content]);
  return withBatches(context, (work) =>
    withFolder(folder, out, async () => {
      const { client, signal } = work;
      const upload = async () => {
        const name = `${basename(path, extname(path))}.jsonl`;
        const file = new File([await openAsBlob(absolute)], name);
        const inputFileId = await client.upload({ file, purpose: 'batch' }, signal);
        return { inputFileId, uploads: [] };
      };
      const plan = { path: state, endpoint, window, upload };
      const { batchId, isOld } = await beginBatch(work, plan);
      context.terminal.notice(isOld ? `going on with ${batchId}` : `${batchId} has begun`);
      work.onStop(() => `${goesOn(batchId)}: the same command, or ${waysOn(batchId, out)}`);
      const batch = await followBatch(work, batchId);
      const count = await whileThere(state, () => fetchResults(work, batch, folder));
      await forgetBegun(state);
      return tellResults(work, batch, { folder, out, count });
    }),
  );
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
    const folder = await makeFolder(context.directory, out);
    return withFolder(folder, out, async () => {
      work.onStop(() => `${goesOn(batchId)}: ${waysOn(batchId, out)}`);
      const batch = await followBatch(work, batchId);
      const count = await fetchResults(work, batch, folder);
      return tellResults(work, batch, { folder, out, count });
    });
  });
}

async function withFolder(
  folder: string,
  out: string,
  write: () => Promise<number>,
): Promise<number> {
  const release = await takeLock(join(folder, FOLDER_LOCK), out);
  try {
    return await write();
  } finally {
    await release();
  }
}

function tellResults(
  { context }: BatchWork,
  batch: Batch,
  { folder, out, count }: { folder: string; out: string; count: number },
): number {
  checkWhole(batch, `see ${out}`);
  const total = batch.request_counts?.total ?? 0;
  const files = count === 0 ? '' : `, ${counted(count, 'file')}`;
  context.terminal.notice(`${counted(total, 'line')}${files}, in ${folder}`);
  return 0;
}

/** Read by whoever has pressed Ctrl-C. */
export const goesOn = (batchId: string): string => `${batchId} goes on on the server`;
export const waysOn = (batchId: string, out: string): string =>
  `batch fetch ${batchId} --out ${out} comes back to it, batch cancel ${batchId} ends it`;

async function checkFile(absolute: string, path: string): Promise<void> {
  const advice = 'name a file of requests';
  try {
    const found = await stat(absolute);
    await access(absolute, constants.R_OK);
    if (found.isFile()) return;
  } catch (thrown) {
    const { code } = thrown as NodeJS.ErrnoException;
    throw new CliError(`'${path}' cannot be read (${code})`, advice, { cause: thrown });
  }
  throw new CliError(`'${path}' is no file`, advice, { exitCode: USAGE_EXIT });
}

async function hashOf(absolute: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const bytes of createReadStream(absolute)) hash.update(bytes as Buffer);
  return hash.digest('hex');
}

async function firstUrl(absolute: string, path: string): Promise<string> {
  const fault = (why: string, advice: string, cause?: unknown): CliError =>
    new CliError(why, advice, { exitCode: USAGE_EXIT, cause });
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
