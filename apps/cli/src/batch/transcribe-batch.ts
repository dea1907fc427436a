import { randomUUID } from 'node:crypto';
import { openAsBlob } from 'node:fs';
import { stat } from 'node:fs/promises';
import { basename, dirname, extname, join, resolve } from 'node:path';
import { CliError, USAGE_EXIT } from '../cli-error.ts';
import type { CliContext } from '../context.ts';
import type { TranscriptFormat } from '../transcription/transcription-client.ts';
import { makeFolder, saveText } from './fetch-results.ts';
import { type BatchWork, checkWhole, followBatch, withBatches } from './follow-batch.ts';
import { jsonText, outputLines } from './output-line.ts';
import { counted } from './progress.ts';
import { goesOn } from './run-command.ts';

export interface TranscribeBatchOptions {
  format: TranscriptFormat;
  language?: string;
  model?: string;
  /** Left out: each transcript beside its recording. */
  out?: string;
  keep: boolean;
}

interface Recording {
  /** As given. */
  path: string;
  source: string;
  target: string;
  /** The transcript's name, where no other has it: then `batch fetch` writes the same file. */
  customId: string;
  fileId?: string;
}

const ENDPOINT = '/v1/audio/transcriptions';
const UPLOADS_AT_ONCE = 4;
const CLEAN_UP_WITHIN_MS = 1500;
const EXTENSIONS: Record<TranscriptFormat, string> = {
  ...{ text: 'txt', json: 'json', verbose_json: 'json', srt: 'srt', vtt: 'vtt' },
};

/** Transcribes recordings as one batch, a file each. Returns the exit code; throws a CliError. */
export async function transcribeBatch(
  context: CliContext,
  paths: readonly string[],
  options: TranscribeBatchOptions,
): Promise<number> {
  const recordings = await findRecordings(context, paths, options);
  return withBatches(context, async (work) => {
    const { client, context, signal } = work;
    await uploadAll(work, recordings);
    const requests = recordings.map((recording) => requestLine(recording, options)).join('');
    const input = new File([requests], 'requests.jsonl');
    const inputFileId = await client.upload(input, 'batch', signal);
    const made = { inputFileId, endpoint: ENDPOINT, key: randomUUID() };
    const { id } = await client.create(made, signal);
    context.terminal.notice(`${id} transcribes ${counted(recordings.length, 'recording')}`);
    work.onStop(() => goesOn(id, options.out ?? id));
    const batch = await followBatch(work, id);
    const failures = await writeTranscripts(work, recordings, outputLines(client, batch, signal));
    if (!options.keep) {
      const uploads = recordings.flatMap(({ fileId }) => fileId ?? []);
      const others = [inputFileId, batch.output_file_id ?? [], batch.error_file_id ?? []].flat();
      await client.deleteFiles([...uploads, ...others], signal);
    }
    for (const failure of failures) context.terminal.notice(failure);
    checkWhole(batch, 'transcribe the others again');
    return failures.length === 0 ? 0 : 1;
  });
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
    const found = await stat(source).catch((cause: NodeJS.ErrnoException) => {
      throw fault(cause.code ?? cause.message, cause);
    });
    if (!found.isFile()) throw fault('not a file');
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
    recordings.push({ path, source, target, customId });
  }
  return recordings;
}

/** Nothing is left on the server when this fails: nobody would come back to it. */
async function uploadAll({ client, signal }: BatchWork, recordings: Recording[]): Promise<void> {
  const left = [...recordings];
  const uploadSome = async (): Promise<void> => {
    for (let next = left.shift(); next; next = left.shift()) {
      const file = new File([await openAsBlob(next.source)], basename(next.source));
      next.fileId = await client.upload(file, 'user_data', signal);
    }
  };
  const ends = await Promise.allSettled(Array.from({ length: UPLOADS_AT_ONCE }, uploadSome));
  const failed = ends.find((end) => end.status === 'rejected');
  if (!failed) return;
  const uploads = recordings.flatMap(({ fileId }) => fileId ?? []);
  await client.deleteFiles(uploads, AbortSignal.timeout(CLEAN_UP_WITHIN_MS));
  throw failed.reason;
}

function requestLine(
  { fileId, customId }: Recording,
  { format, language, model }: TranscribeBatchOptions,
): string {
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
