import { createReadStream } from 'node:fs';
import { mkdir, rename, rm, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { AUDIO_FORMATS } from '@antiphon/shared/audio/audio-format';
import { CliError } from '../cli-error.ts';
import { createOutputFile } from '../sound/output-file.ts';
import type { Batch } from './batch-client.ts';
import { IdNames } from './file-name.ts';
import type { BatchWork } from './follow-batch.ts';
import { textLines } from './jsonl.ts';
import { parseLine, soundOf, textOf, transcriptOf } from './output-line.ts';

const DOWNLOADS_AT_ONCE = 4;
/** An id that says how the transcript is written. */
const TRANSCRIPT_NAME = /^(.+)\.(srt|vtt|txt|json)$/;

/** A new folder, or one that is there. Throws a CliError when it can be neither. */
export async function makeFolder(directory: string, path: string): Promise<string> {
  const folder = resolve(directory, path);
  await mkdir(folder, { recursive: true }).catch((cause: NodeJS.ErrnoException) => {
    const what = `'${path}' cannot be made a folder (${cause.code})`;
    throw new CliError(what, 'name another by --out', { cause });
  });
  return folder;
}

/**
 * Writes what a batch that is over has made: `output.jsonl`, `errors.jsonl`, and each line's sound
 * or transcript under its `custom_id`. Sound that is there from an earlier call for the same batch
 * is not fetched again; what another batch has left under these names is replaced. Returns the
 * number of files besides the first two.
 */
export async function fetchResults(work: BatchWork, batch: Batch, folder: string): Promise<number> {
  const errorsPath = join(folder, 'errors.jsonl');
  if (batch.error_file_id) await save(work, batch.error_file_id, errorsPath);
  else await rm(errorsPath, { force: true });
  await saveOutput(work, batch, folder);
  const results = namedResults(join(folder, 'output.jsonl'), batch.endpoint);
  let count = 0;
  const fetchSome = async (): Promise<void> => {
    // Several of these take turns at one reading.
    for await (const result of results) {
      const path = join(folder, result.name);
      if ('text' in result) await saveText(path, result.text);
      else await saveSound(work, result, path);
      count += 1;
    }
  };
  await Promise.all(Array.from({ length: DOWNLOADS_AT_ONCE }, fetchSome));
  return count;
}

type NamedResult = { name: string } & ({ text: string } | { fileId: string; bytes: number });

/** Of an `output.jsonl`, in its order, what has a file of its own; nothing when there is none. */
async function* namedResults(path: string, endpoint: string): AsyncGenerator<NamedResult> {
  const found = await stat(path).catch(() => undefined);
  if (!found?.isFile()) return;
  const names = new IdNames();
  for await (const line of textLines(createReadStream(path))) {
    const parsed = parseLine(line);
    if (!parsed || !('body' in parsed)) continue;
    const { customId, body } = parsed;
    const sound = soundOf(body);
    if (sound) {
      const extension = AUDIO_FORMATS.find((format) => format === sound.format) ?? 'audio';
      yield { ...sound, name: names.nameOf(customId, extension) };
      continue;
    }
    const text = textOf(body);
    const shown = text ?? transcriptOf(body, endpoint);
    if (shown === undefined) continue;
    const usual = text === undefined ? 'json' : 'txt';
    yield { text: shown, name: names.nameOf(...splitName(customId, usual)) };
  }
}

function splitName(customId: string, usual: string): [string, string] {
  const [, base = customId, extension = usual] = TRANSCRIPT_NAME.exec(customId) ?? [];
  return [base, extension];
}

/**
 * `output.jsonl` stands for the sounds beside it: once it is there, none of another file lies under
 * its names. Their size tells nothing: two voices say a line in the same number of bytes.
 */
async function saveOutput(work: BatchWork, batch: Batch, folder: string): Promise<void> {
  const path = join(folder, 'output.jsonl');
  if (!batch.output_file_id) return rm(path, { force: true });
  const before = await soundsOf(path, batch.endpoint);
  const arrived = `${path}.new`;
  await save(work, batch.output_file_id, arrived);
  for (const [name, fileId] of await soundsOf(arrived, batch.endpoint)) {
    if (before.get(name) !== fileId) await rm(join(folder, name), { force: true });
  }
  await rename(arrived, path);
}

/** The file on the server by the name here. */
async function soundsOf(path: string, endpoint: string): Promise<Map<string, string>> {
  const sounds = new Map<string, string>();
  for await (const result of namedResults(path, endpoint)) {
    if ('fileId' in result) sounds.set(result.name, result.fileId);
  }
  return sounds;
}

async function saveSound(
  work: BatchWork,
  { fileId, bytes }: { fileId: string; bytes: number },
  path: string,
): Promise<void> {
  const present = await stat(path).catch(() => undefined);
  if (present?.size !== bytes) await save(work, fileId, path, bytes);
}

/** A text that ends with a line feed. */
export async function saveText(path: string, text: string): Promise<void> {
  const file = await createOutputFile(path);
  try {
    await file.write(Buffer.from(text.endsWith('\n') ? text : `${text}\n`));
    await file.finish();
  } finally {
    await file.discard();
  }
}

async function save(
  { client, signal }: BatchWork,
  fileId: string,
  path: string,
  bytes?: number,
): Promise<void> {
  const file = await createOutputFile(path);
  try {
    for await (const part of client.content(fileId, signal, bytes)) await file.write(part);
    await file.finish();
  } finally {
    await file.discard();
  }
}
