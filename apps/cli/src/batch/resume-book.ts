import { rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { APIError } from 'openai';
import { describeApiFailure, isAbort } from '../api-failure.ts';
import { CliError, USAGE_EXIT } from '../cli-error.ts';
import { type Batch, BatchClient, isOver } from './batch-client.ts';
import { isUnknown } from './batch-failure.ts';
import { type Book, missingParts, partsOf } from './book.ts';
import { applyCuts } from './book-cuts.ts';
import { forgetFailures } from './book-rounds.ts';
import { type BookProgress, loadProgress, removeProgress } from './book-state.ts';
import { followBatch } from './follow-batch.ts';
import { outputLines, soundOf } from './output-line.ts';

/**
 * Takes over what an earlier call has done in the book's folder, or with `restart` removes it, here
 * and there. Throws a CliError when that was another book.
 */
export async function resumeBook(book: Book, { restart }: { restart: boolean }): Promise<void> {
  const before = await loadProgress(book.directory);
  if (before && restart) await forget(book, before);
  else if (before) await goOn(book, before);
}

async function goOn(book: Book, before: BookProgress): Promise<void> {
  const { context, directory, progress } = book;
  const advice = 'name another folder by --out, or begin anew by --restart';
  if (before.fingerprint !== progress.fingerprint) {
    const what = `${directory} holds another text, or the same with other options`;
    throw new CliError(what, advice, { exitCode: USAGE_EXIT });
  }
  if (before.baseUrl !== progress.baseUrl) {
    const what = `${directory} was begun with the server at ${before.baseUrl}`;
    throw new CliError(what, advice, { exitCode: USAGE_EXIT });
  }
  book.progress = before;
  book.chapters = applyCuts(book.chapters, before.cuts);
  forgetFailures(book);
  for (const [number, { file }] of Object.entries(before.chapters)) {
    const found = await stat(join(directory, file)).catch(() => undefined);
    if (!found?.isFile()) delete before.chapters[number];
  }
  const left = missingParts(book).length;
  const total = partsOf(book).length;
  const batch = before.round?.batchId === undefined ? '' : `, of ${before.round.batchId}`;
  if (left > 0)
    context.terminal.notice(`going on: ${left} of ${total} paragraphs are missing${batch}`);
}

/** Where it was begun, which may be another server than today's. */
async function forget({ context, directory, signal }: Book, before: BookProgress): Promise<void> {
  const { baseUrl, round, chapters } = before;
  const api = baseUrl === context.api.baseUrl ? context.api : context.api.at(baseUrl);
  const client = new BatchClient(api);
  try {
    await removeThere({ context, client, progress: before, signal });
  } catch (thrown) {
    if (signal.aborted && isAbort(thrown)) throw thrown;
    const why = describeApiFailure(thrown, baseUrl).message;
    const what = `${round?.batchId ?? 'an earlier batch'} could not be ended: ${why}`;
    const end = `batch cancel ${round?.batchId ?? '<id>'} --base-url ${baseUrl}`;
    context.terminal.notice(`${what} — ${end} ends it`);
  }
  for (const { file } of Object.values(chapters)) await rm(join(directory, file), { force: true });
  await removeProgress(directory);
}

async function removeThere(
  old: Pick<Book, 'context' | 'client' | 'progress' | 'signal'>,
): Promise<void> {
  const { client, progress, signal } = old;
  const { round, sounds, spentFileIds } = progress;
  const fileIds = [...Object.values(sounds).map(({ fileId }) => fileId), ...spentFileIds];
  if (round) fileIds.push(round.inputFileId);
  const batch = round?.batchId === undefined ? undefined : await endBatch(old, round.batchId);
  if (batch) {
    // What it has spoken is known by its lines alone.
    for await (const line of outputLines(client, batch, signal)) {
      const sound = 'body' in line ? soundOf(line.body) : undefined;
      if (sound) fileIds.push(sound.fileId);
    }
    fileIds.push(...[batch.output_file_id ?? [], batch.error_file_id ?? []].flat());
  }
  await client.deleteFiles(fileIds, signal);
  signal.throwIfAborted();
}

/** Undefined for a batch that the server has forgotten. */
async function endBatch(
  { context, client, signal }: Pick<Book, 'context' | 'client' | 'signal'>,
  batchId: string,
): Promise<Batch | undefined> {
  try {
    await client.cancel(batchId, signal);
  } catch (thrown) {
    if (isUnknown(thrown)) return undefined;
    if (!(thrown instanceof APIError) || thrown.status === undefined) throw thrown;
    // It may be over, or as good as over.
    const batch = await client.get(batchId, signal);
    if (!isOver(batch) && batch.status !== 'finalizing') throw thrown;
  }
  context.terminal.notice(`${batchId} is being ended`);
  return followBatch({ context, client, signal }, batchId);
}
