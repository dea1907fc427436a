import { readFile } from 'node:fs/promises';
import { basename, extname, join, resolve } from 'node:path';
import { SAMPLE_RATE_HZ, type AudioFormat } from '@antiphon/shared/audio/audio-format';
import { describeApiFailure, isAbort } from '../api-failure.ts';
import { CliError } from '../cli-error.ts';
import type { CliContext } from '../context.ts';
import { INTERRUPTED_EXIT } from '../interrupts.ts';
import { type Batch, BatchClient } from './batch-client.ts';
import { batchFailure } from './batch-failure.ts';
import { type Book, missingParts, save, type SpokenAs } from './book.ts';
import { cutBook } from './book-chapters.ts';
import { beginning, writeContents } from './book-contents.ts';
import { speakRound } from './book-rounds.ts';
import { fingerprintOf, newProgress } from './book-state.ts';
import { writeChapters } from './chapter-writer.ts';
import { makeFolder } from './fetch-results.ts';
import { FOLDER_LOCK, takeLock } from './file-lock.ts';
import { counted, timestamp } from './progress.ts';
import { resumeBook } from './resume-book.ts';

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
  let unlock = async (): Promise<void> => undefined;
  try {
    book = await readBook(context, path, { ...options, signal });
    unlock = await takeLock(join(book.directory, FOLDER_LOCK), book.directory);
    await resumeBook(book, options);
    return await speakAll(book);
  } catch (thrown) {
    if (!signal.aborted || !isAbort(thrown)) {
      throw describeApiFailure(batchFailure(thrown), context.api.baseUrl);
    }
    if (book) tellWhatGoesOn(book);
    return INTERRUPTED_EXIT;
  } finally {
    await unlock();
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
    const before = missingParts(book).length;
    const batch = await speakRound(book);
    if (!batch) break;
    const end = endOf(batch, before - missingParts(book).length);
    if (!end) continue;
    await writeChapters(book);
    await writeContents(book);
    throw end;
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

/** Whether another round would do no better. */
function endOf({ id, status }: Batch, spoken: number): CliError | undefined {
  if (status === 'cancelled') {
    return new CliError(`${id} was cancelled`, 'the same command speaks what is missing');
  }
  // What has run out of time is no fault of the line's, as long as some have their turn.
  if (status !== 'expired' || spoken > 0) return undefined;
  return new CliError(
    `${id} expired before a paragraph was spoken`,
    'look at the server, or give it longer by --window',
  );
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

async function readBook(
  context: CliContext,
  path: string,
  options: SpeakOptions & { signal: AbortSignal },
): Promise<Book> {
  const { signal, keep, window, format, voice, model, speed } = options;
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
  return {
    ...{ context, client, title, chapters, spokenAs, format, directory, progress },
    ...{ window, keep, signal },
  };
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
