import { readFile, rm, stat } from 'node:fs/promises';
import { basename, extname, join, resolve } from 'node:path';
import { SAMPLE_RATE_HZ, type AudioFormat } from '@antiphon/shared/audio/audio-format';
import { describeApiFailure, isAbort } from '../api-failure.ts';
import { CliError, USAGE_EXIT } from '../cli-error.ts';
import type { CliContext } from '../context.ts';
import { INTERRUPTED_EXIT } from '../interrupts.ts';
import { BatchClient } from './batch-client.ts';
import { batchFailure } from './batch-failure.ts';
import { type Book, missingParts, partsOf, save, type SpokenAs } from './book.ts';
import { cutBook } from './book-chapters.ts';
import { beginning, writeContents } from './book-contents.ts';
import { forgetFailures, speakRound } from './book-rounds.ts';
import {
  type BookProgress,
  fingerprintOf,
  loadProgress,
  newProgress,
  removeProgress,
} from './book-state.ts';
import { writeChapters } from './chapter-writer.ts';
import { makeFolder } from './fetch-results.ts';
import { counted, timestamp } from './progress.ts';

export interface SpeakOptions extends SpokenAs {
  format: AudioFormat;
  /** Left out: the text's name without its ending. */
  out?: string;
  window: string;
  restart: boolean;
  keep: boolean;
}

/** Failed paragraphs that are named; the others are counted. */
const MOST_NAMED = 20;

/**
 * Speaks a book by batches, one file per chapter. Goes on where an earlier call with the same text
 * and options stopped. Returns the exit code; throws a CliError.
 */
export async function speakBook(
  context: CliContext,
  path: string,
  options: SpeakOptions,
): Promise<number> {
  const { signal, release } = context.interrupts.guard();
  let book: Book | undefined;
  try {
    book = await openBook(context, path, { ...options, signal });
    return await speakAll(book);
  } catch (thrown) {
    if (!signal.aborted || !isAbort(thrown)) {
      throw describeApiFailure(batchFailure(thrown), context.api.baseUrl);
    }
    if (book) tellWhatGoesOn(book);
    return INTERRUPTED_EXIT;
  } finally {
    release();
  }
}

function tellWhatGoesOn({ context, progress }: Book): void {
  const batchId = progress.round?.batchId;
  const back = 'the same command goes on with it';
  context.terminal.notice(
    batchId === undefined
      ? `stopped: ${back}`
      : `${batchId} goes on on the server: ${back}, batch cancel ${batchId} ends it`,
  );
}

async function speakAll(book: Book): Promise<number> {
  for (;;) {
    await writeChapters(book);
    const batch = await speakRound(book);
    if (!batch) break;
    if (batch.status === 'cancelled') {
      await writeChapters(book);
      await writeContents(book);
      throw new CliError(`${batch.id} was cancelled`, 'the same command speaks what is missing');
    }
  }
  await deleteSpent(book);
  const table = await writeContents(book);
  book.context.terminal.print(table);
  const missing = missingParts(book);
  if (missing.length > 0) throw unspoken(book, missing);
  const samples = Object.values(book.progress.chapters).reduce(
    (sum, { samples }) => sum + samples,
    0,
  );
  const length = timestamp(samples / SAMPLE_RATE_HZ);
  book.context.terminal.notice(
    `${counted(book.chapters.length, 'chapter')}, ${length}, in ${book.directory}`,
  );
  return 0;
}

/** What rounds that are over have left on the server. */
async function deleteSpent(book: Book): Promise<void> {
  const { client, keep, progress, signal } = book;
  if (keep || progress.spentFileIds.length === 0) return;
  await client.deleteFiles(progress.spentFileIds, signal);
  signal.throwIfAborted();
  progress.spentFileIds = [];
  await save(book);
}

function unspoken(book: Book, missing: ReturnType<typeof missingParts>): CliError {
  const { context, progress } = book;
  const failed = missing.filter(({ index }) => index in progress.failures);
  for (const { index, chapter, text } of failed.slice(0, MOST_NAMED)) {
    const why = progress.failures[index]?.message ?? '';
    context.terminal.notice(`${chapter.title}, "${beginning(text)}": ${why}`);
  }
  const chapters = new Set(missing.map(({ chapter }) => chapter)).size;
  const have = chapters === 1 ? 'has' : 'have';
  const what = `${counted(failed.length, 'paragraph')} could not be spoken, and ${counted(chapters, 'chapter')} ${have} no file`;
  return new CliError(what, 'the same command tries them again');
}

async function openBook(
  context: CliContext,
  path: string,
  options: SpeakOptions & { signal: AbortSignal },
): Promise<Book> {
  const { signal, restart, keep, window, format, voice, model, speed } = options;
  const { baseUrl } = context.api;
  const title = basename(path, extname(path));
  const text = await readText(resolve(context.directory, path), path);
  const chapters = cutBook(text, { markdown: /\.(?:md|markdown)$/i.test(path), title });
  if (chapters.length === 0) {
    throw new CliError(`there is nothing to say in '${path}'`, 'name a text');
  }
  const spokenAs = {
    ...(model === undefined ? {} : { model }),
    ...{ voice, ...(speed === undefined ? {} : { speed }) },
  };
  const directory = await makeFolder(context.directory, options.out ?? title);
  const client = new BatchClient(context.api);
  const progress = newProgress(fingerprintOf(chapters, { ...spokenAs, format }), baseUrl);
  const book = {
    ...{ context, client, title, chapters, spokenAs, format, directory, progress },
    ...{ window, keep, signal },
  };
  const before = await loadProgress(directory);
  if (before && restart) await forget({ ...book, progress: before });
  else if (before) await goOn(book, before);
  return book;
}

async function readText(absolute: string, path: string): Promise<string> {
  const bytes = await readFile(absolute).catch((cause: NodeJS.ErrnoException) => {
    const what = `'${path}' cannot be read (${cause.code})`;
    throw new CliError(what, 'name a text or Markdown file', { cause });
  });
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    // What older collections of books are written in.
    if (!bytes.includes(0)) return new TextDecoder('windows-1252').decode(bytes);
    throw new CliError(`'${path}' is no text`, 'name a text or Markdown file');
  }
}

/** Takes over what an earlier call has done. */
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

/** Ends what an earlier call has begun, and removes what it has made, here and there. */
async function forget({ client, directory, progress, signal }: Book): Promise<void> {
  const { round, sounds, spentFileIds, chapters } = progress;
  if (round?.batchId !== undefined)
    await client.cancel(round.batchId, signal).catch(() => undefined);
  const sound = Object.values(sounds).map(({ fileId }) => fileId);
  const inputs = round === undefined ? [] : [round.inputFileId];
  await client.deleteFiles([...sound, ...spentFileIds, ...inputs], signal);
  signal.throwIfAborted();
  for (const { file } of Object.values(chapters)) await rm(join(directory, file), { force: true });
  await removeProgress(directory);
}
