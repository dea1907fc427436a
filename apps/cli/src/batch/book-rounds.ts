import { openAsBlob } from 'node:fs';
import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Batch } from './batch-client.ts';
import { isUnknown, refusedBatch } from './batch-failure.ts';
import { type Book, missingParts, type NumberedPart, partsOf, save } from './book.ts';
import { cutAgain, limitFor } from './book-cuts.ts';
import { keptSeconds } from './completion-window.ts';
import { followBatch } from './follow-batch.ts';
import { outputLines, soundOf } from './output-line.ts';
import { counted } from './progress.ts';

/** What one batch takes (contract, section 8), with room for what the server counts otherwise. */
const MOST_PER_BATCH = { lines: 50_000, bytes: 190_000_000 };
/** The first one, and one more. */
const MOST_TRIES = 2;

const INPUT_NAME = '.antiphon-batch.jsonl';
const ENDPOINT = '/v1/audio/speech';
/** Lines that nobody has tried. */
const UNTRIED = ['batch_cancelled', 'batch_expired'];

/**
 * Speaks what is missing, as much as goes into one batch: begins it, or goes on with the one that
 * was begun before, and waits for its end. Returns the batch, or undefined when there is nothing
 * left to try.
 */
export async function speakRound(book: Book): Promise<Batch | undefined> {
  const isOld = book.progress.round !== undefined;
  if (!isOld && !(await uploadRound(book))) return undefined;
  try {
    return await finishRound(book);
  } catch (thrown) {
    if (!isOld || !isUnknown(thrown)) throw thrown;
    book.context.terminal.notice('the server has forgotten the batch: what is missing begins anew');
    await endRound(book, []);
    return speakRound(book);
  }
}

/** A part that was refused twice is tried again when the command is. */
export function forgetFailures({ progress }: Book): void {
  progress.failures = {};
}

/** Sets a part aside: one more try was in vain. */
export function countFailure({ progress }: Book, index: number, message: string): void {
  const tries = (progress.failures[index]?.tries ?? 0) + 1;
  progress.failures[index] = { tries, message };
}

/** The parts of the next batch, at least one if any is left: new ones before those that failed. */
export function nextParts(
  book: Pick<Book, 'chapters' | 'progress' | 'spokenAs'>,
  most = MOST_PER_BATCH,
): NumberedPart[] {
  const { failures } = book.progress;
  const triesOf = ({ index }: NumberedPart): number => failures[index]?.tries ?? 0;
  const missing = missingParts(book).filter((part) => triesOf(part) < MOST_TRIES);
  const fewest = missing.reduce((least, part) => Math.min(least, triesOf(part)), Infinity);
  const next: NumberedPart[] = [];
  let bytes = 0;
  for (const part of missing.filter((part) => triesOf(part) === fewest)) {
    bytes += Buffer.byteLength(requestLine(book, part));
    if (next.length === most.lines || (next.length > 0 && bytes > most.bytes)) break;
    next.push(part);
  }
  return next;
}

/** Without compression: a chapter is encoded once, here, as a whole. */
function requestLine({ spokenAs }: Pick<Book, 'spokenAs'>, { index, text }: NumberedPart): string {
  const body = { ...spokenAs, input: text, response_format: 'pcm' };
  const line = { custom_id: `part-${index}`, method: 'POST', url: ENDPOINT, body };
  return `${JSON.stringify(line)}\n`;
}

async function uploadRound(book: Book): Promise<boolean> {
  const { client, context, directory, progress, signal } = book;
  const { linesPerBatch = MOST_PER_BATCH.lines } = progress;
  const parts = nextParts(book, { ...MOST_PER_BATCH, lines: linesPerBatch });
  if (parts.length === 0) return false;
  if (parts.some(({ index }) => index in progress.failures)) {
    context.terminal.notice(`${counted(parts.length, 'line')} failed: once more`);
  }
  const path = join(directory, INPUT_NAME);
  try {
    const file = await open(path, 'w');
    try {
      for (const part of parts) await file.appendFile(requestLine(book, part));
    } finally {
      await file.close();
    }
    const requests = new File([await openAsBlob(path)], 'requests.jsonl');
    const inputFileId = await client.upload({ file: requests, purpose: 'batch' }, signal);
    progress.round = { inputFileId, parts: parts.map(({ index }) => index) };
    await save(book);
    return true;
  } finally {
    await rm(path, { force: true });
  }
}

async function finishRound(book: Book): Promise<Batch | undefined> {
  const { client, progress, signal, window } = book;
  const { round } = progress;
  if (!round) return undefined;
  if (round.batchId === undefined) {
    const key = `${progress.key}-${progress.roundsEnded}-${window}`;
    const { inputFileId } = round;
    const batch = { inputFileId, endpoint: ENDPOINT, window, key };
    // Of a book that nobody comes back to nothing stays.
    const { id } = await client.create({ ...batch, outputSeconds: keptSeconds(window) }, signal);
    round.batchId = id;
    await save(book);
    const what = `${id} speaks ${round.parts.length} of ${partsOf(book).length} paragraphs`;
    book.context.terminal.notice(what);
  }
  const total = partsOf(book).length;
  const before = total - missingParts(book).length;
  const batch = await followBatch(book, round.batchId, { before, total });
  const isTaken = batch.status === 'failed' ? adapt(book, batch) : await collect(book, batch);
  const files = [round.inputFileId, batch.output_file_id, batch.error_file_id];
  await endRound(
    book,
    files.filter((id): id is string => Boolean(id)),
  );
  if (!isTaken) throw refusedBatch(batch);
  return batch;
}

/** A server that takes less than is usual says so. Returns whether the next round is another. */
function adapt(book: Book, { errors }: Batch): boolean {
  const { progress } = book;
  const lines = progress.round?.parts.length ?? 0;
  const faults = errors?.data ?? [];
  if (faults.some(({ code }) => code === 'too_many_tasks') && lines > 1) {
    progress.linesPerBatch = Math.floor(lines / 2);
    const what = `the server takes fewer than ${lines} lines: ${progress.linesPerBatch} at a time`;
    book.context.terminal.notice(what);
    return true;
  }
  const longest = missingParts(book).reduce((most, { text }) => Math.max(most, text.length), 0);
  const limits = faults.flatMap(
    ({ code, message = '' }) => limitFor({ code, message }, longest) ?? [],
  );
  return limits.length > 0 && cutShorter(book, Math.min(...limits));
}

/** Notes where each part's sound is, and why a part has none; cuts those that were too long. */
async function collect(book: Book, batch: Batch): Promise<true> {
  const { client, progress, signal } = book;
  const left = new Set(progress.round?.parts);
  const texts = partsOf(book).map(({ text }) => text);
  let limit = Infinity;
  for await (const line of outputLines(client, batch, signal)) {
    const index = partIndex(line.customId);
    if (!left.delete(index)) continue;
    if ('body' in line) noteSound(book, index, line.body);
    else if (!UNTRIED.includes(line.code ?? '')) {
      countFailure(book, index, line.message);
      limit = Math.min(limit, limitFor(line, texts[index]?.length ?? 0) ?? Infinity);
    }
  }
  if (batch.status === 'completed') {
    for (const index of left) countFailure(book, index, 'the server sent no result');
  }
  if (limit < Infinity) cutShorter(book, limit);
  return true;
}

const partIndex = (customId: string): number =>
  Number(/^part-(\d+)$/.exec(customId)?.[1] ?? Number.NaN);

function noteSound(book: Book, index: number, body: unknown): void {
  const sound = soundOf(body);
  if (sound) book.progress.sounds[index] = { fileId: sound.fileId, bytes: sound.bytes };
  else countFailure(book, index, 'the server sent something that is no speech');
}

function cutShorter(book: Book, maxCharacters: number): boolean {
  const isCut = cutAgain(book, maxCharacters);
  const what = `the server takes at most ${maxCharacters} characters: longer paragraphs are cut again`;
  if (isCut) book.context.terminal.notice(what);
  return isCut;
}

async function endRound(book: Book, fileIds: readonly string[]): Promise<void> {
  const { progress } = book;
  delete progress.round;
  progress.roundsEnded += 1;
  progress.spentFileIds.push(...fileIds);
  await save(book);
}
