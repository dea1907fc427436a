import { createReadStream } from 'node:fs';
import { mkdir, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { AUDIO_FORMATS } from '@antiphon/shared/audio/audio-format';
import { CliError } from '../cli-error.ts';
import { createOutputFile } from '../sound/output-file.ts';
import type { Batch } from './batch-client.ts';
import { IdNames } from './file-name.ts';
import type { BatchWork } from './follow-batch.ts';
import { textLines } from './jsonl.ts';
import { parseLine, soundOf } from './output-line.ts';

const DOWNLOADS_AT_ONCE = 4;

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
 * Writes what a batch that is over has made: `output.jsonl`, `errors.jsonl`, and the sound of each
 * line under its `custom_id`. Sound that is there from an earlier call is not fetched again.
 * Returns the number of files with sound.
 */
export async function fetchResults(work: BatchWork, batch: Batch, folder: string): Promise<number> {
  if (batch.error_file_id) await save(work, batch.error_file_id, join(folder, 'errors.jsonl'));
  if (!batch.output_file_id) return 0;
  const outputPath = join(folder, 'output.jsonl');
  await save(work, batch.output_file_id, outputPath);
  const names = new IdNames();
  const lines = textLines(createReadStream(outputPath));
  let count = 0;
  const fetchSome = async (): Promise<void> => {
    // Several of these take turns at one reading.
    for await (const line of lines) {
      const parsed = parseLine(line);
      const sound = parsed && 'body' in parsed ? soundOf(parsed.body) : undefined;
      if (!parsed || !sound) continue;
      const extension = AUDIO_FORMATS.find((format) => format === sound.format) ?? 'audio';
      const path = join(folder, names.nameOf(parsed.customId, extension));
      const present = await stat(path).catch(() => undefined);
      if (present?.size !== sound.bytes) await save(work, sound.fileId, path, sound.bytes);
      count += 1;
    }
  };
  await Promise.all(Array.from({ length: DOWNLOADS_AT_ONCE }, fetchSome));
  return count;
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
