import { constants, openAsBlob } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { basename, dirname, extname, join, resolve } from 'node:path';
import { CliError, USAGE_EXIT } from '../cli-error.ts';
import type { CliContext } from '../context.ts';
import type { TranscriptFormat } from '../transcription/transcription-client.ts';
import { beginBatch, begunPath, forgetBegun, loadBegun, whileThere } from './begun-batch.ts';
import { keptSeconds } from './completion-window.ts';
import { makeFolder, saveText } from './fetch-results.ts';
import { takeLock } from './file-lock.ts';
import { type BatchWork, checkWhole, followBatch, withBatches } from './follow-batch.ts';
import { jsonText, outputLines } from './output-line.ts';
import { counted } from './progress.ts';
import { goesOn, waysOn } from './run-command.ts';

export interface TranscribeBatchOptions {
  format: TranscriptFormat;
  language?: string;
  model?: string;
  /** Left out: each transcript beside its recording. */
  out?: string;
  window: string;
  /** Transcripts that are there already are replaced. */
  force: boolean;
  keep: boolean;
}

interface Recording {
  /** As given. */
  path: string;
  source: string;
  target: string;
  /** The transcript's name, where no other has it: then `batch fetch` writes the same file. */
  customId: string;
  sizeBytes: number;
  changedMs: number;
}

const ENDPOINT = '/v1/audio/transcriptions';
const UPLOADS_AT_ONCE = 4;
const CLEAN_UP_WITHIN_MS = 1500;
const EXTENSIONS: Record<TranscriptFormat, string> = {
  ...{ text: 'txt', json: 'json', verbose_json: 'json', srt: 'srt', vtt: 'vtt' },
};

/**
 * Transcribes recordings as one batch, a file each. The same command goes on with the batch that
 * runs. Returns the exit code; throws a CliError.
 */
export async function transcribeBatch(
  context: CliContext,
  paths: readonly string[],
  options: TranscribeBatchOptions,
): Promise<number> {
  const recordings = await findRecordings(context, paths, options);
  const state = statePath(context, recordings, options);
  return withBatches(context, async (work) => {
    const release = await takeLock(`${state}.lock`, options.out ?? 'these transcripts');
    try {
      return await transcribeAll(work, recordings, { ...options, state });
    } finally {
      await release();
    }
  });
}

/** Beside the first transcript. Recordings may be large: they are told by size and time. */
function statePath(
  { api }: CliContext,
  recordings: readonly Recording[],
  { format, language, model, window }: TranscribeBatchOptions,
): string {
  const folder = dirname(recordings[0]?.target ?? '.');
  return begunPath(folder, [api.baseUrl, recordings, format, language, model, window]);
}

async function transcribeAll(
  work: BatchWork,
  recordings: readonly Recording[],
  options: TranscribeBatchOptions & { state: string },
): Promise<number> {
  const { client, context, signal } = work;
  const { state, window, force, keep } = options;
  // What an earlier call with the same batch has written is replaced by the same.
  if (!force && !(await loadBegun(state))) await checkTargets(recordings);
  const upload = async () => {
    const uploads = await uploadAll(work, recordings, keptSeconds(window));
    const requests = recordings.map((recording, at) =>
      requestLine(recording, { ...options, fileId: uploads[at] }),
    );
    const file = new File([requests.join('')], 'requests.jsonl');
    const inputFileId = await client.upload({ file, purpose: 'batch' }, signal);
    return { inputFileId, uploads };
  };
  const plan = { path: state, endpoint: ENDPOINT, window, upload };
  const { batchId, isOld, inputFileId, uploads } = await beginBatch(work, plan);
  const what = `${batchId} transcribes ${counted(recordings.length, 'recording')}`;
  context.terminal.notice(isOld ? `going on: ${what}` : what);
  const out = options.out ?? batchId;
  work.onStop(() => `${goesOn(batchId)}: the same command, or ${waysOn(batchId, out)}`);
  const batch = await followBatch(work, batchId);
  const failures = await whileThere(state, () =>
    writeTranscripts(work, recordings, outputLines(client, batch, signal)),
  );
  await forgetBegun(state);
  if (!keep) {
    const others = [inputFileId, batch.output_file_id ?? [], batch.error_file_id ?? []].flat();
    await client.deleteFiles([...uploads, ...others], signal);
  }
  for (const failure of failures) context.terminal.notice(failure);
  checkWhole(batch, 'transcribe the others again');
  return failures.length === 0 ? 0 : 1;
}

async function checkTargets(recordings: readonly Recording[]): Promise<void> {
  for (const { target } of recordings) {
    if (!(await stat(target).catch(() => undefined))) continue;
    const advice = 'replace it by --force, or name a folder by --out';
    throw new CliError(`'${target}' is there already`, advice, { exitCode: USAGE_EXIT });
  }
}

async function findRecordings(
  { directory }: CliContext,
  paths: readonly string[],
  { format, out }: TranscribeBatchOptions,
): Promise<Recording[]> {
  const folder = out === undefined ? undefined : await makeFolder(directory, out);
  const targets = new Map<string, string>();
  const recordings: Recording[] = [];
  for (const path of paths) {
    const source = resolve(directory, path);
    const fault = (why: string, cause?: unknown): CliError =>
      new CliError(`'${path}' cannot be read (${why})`, 'name an audio file', { cause });
    const failed = (cause: NodeJS.ErrnoException): never => {
      throw fault(cause.code ?? cause.message, cause);
    };
    const found = await stat(source).catch(failed);
    if (!found.isFile()) throw fault('not a file');
    await access(source, constants.R_OK).catch(failed);
    const name = `${basename(source, extname(source))}.${EXTENSIONS[format]}`;
    const target = join(folder ?? dirname(source), name);
    const other = targets.get(target);
    if (other !== undefined || target === source) {
      const what = `'${other ?? path}' and '${path}' would have one transcript, ${name}`;
      throw new CliError(what, 'transcribe them apart', { exitCode: USAGE_EXIT });
    }
    targets.set(target, path);
    const isTaken = recordings.some(({ customId }) => customId === name);
    const customId = isTaken ? `${recordings.length}-${name}` : name;
    const { size: sizeBytes, mtimeMs: changedMs } = found;
    recordings.push({ path, source, target, customId, sizeBytes, changedMs });
  }
  return recordings;
}

/**
 * Returns the files' ids. Nothing is left on the server when this fails: nobody would come back to
 * it.
 */
async function uploadAll(
  { client, signal }: BatchWork,
  recordings: readonly Recording[],
  lifeSeconds: number,
): Promise<string[]> {
  const left = [...recordings.entries()];
  const fileIds: string[] = [];
  const uploadSome = async (): Promise<void> => {
    for (let next = left.shift(); next; next = left.shift()) {
      const [at, { source }] = next;
      const file = new File([await openAsBlob(source)], basename(source));
      fileIds[at] = await client.upload({ file, purpose: 'user_data', lifeSeconds }, signal);
    }
  };
  const ends = await Promise.allSettled(Array.from({ length: UPLOADS_AT_ONCE }, uploadSome));
  const failed = ends.find((end) => end.status === 'rejected');
  if (!failed) return fileIds;
  const uploads = fileIds.filter((id) => id !== undefined);
  await client.deleteFiles(uploads, AbortSignal.timeout(CLEAN_UP_WITHIN_MS));
  throw failed.reason;
}

function requestLine(
  { customId }: Recording,
  options: TranscribeBatchOptions & { fileId: string | undefined },
): string {
  const { format, language, model, fileId } = options;
  const body = {
    ...{ file_id: fileId, response_format: format },
    ...(model === undefined ? {} : { model }),
    ...(language === undefined ? {} : { language }),
  };
  return `${JSON.stringify({ custom_id: customId, method: 'POST', url: ENDPOINT, body })}\n`;
}

/** Returns a line for each recording that has no transcript. */
async function writeTranscripts(
  { context }: BatchWork,
  recordings: readonly Recording[],
  lines: ReturnType<typeof outputLines>,
): Promise<string[]> {
  const byId = new Map(recordings.map((recording) => [recording.customId, recording]));
  const failures: string[] = [];
  for await (const line of lines) {
    const recording = byId.get(line.customId);
    if (!recording) continue;
    if ('body' in line) {
      await writeTranscript(recording.target, line.body);
      context.terminal.print(`${recording.target}\n`);
    } else failures.push(`${recording.path}: ${line.message}`);
  }
  return failures;
}

/** Not every server tells the type of a text. */
async function writeTranscript(target: string, body: unknown): Promise<void> {
  const { text } = Object(body) as { text?: unknown };
  const isText = extname(target) !== '.json' && typeof text === 'string';
  await saveText(target, isText ? text : jsonText(body));
}
