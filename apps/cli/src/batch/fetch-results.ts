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
import { parseLine, soundOf, textOf } from './output-line.ts';

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
 * Writes what a batch that is over has made: `output.jsonl`, `errors.jsonl`, and each line's sound
 * or text under its `custom_id`. Sound that is there from an earlier call is not fetched again.
 * Returns the number of files besides the first two.
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
      if (!parsed || !('body' in parsed)) continue;
      const sound = soundOf(parsed.body);
      const text = sound ? undefined : textOf(parsed.body);
      if (sound) {
        const extension = AUDIO_FORMATS.find((format) => format === sound.format) ?? 'audio';
        const path = join(folder, names.nameOf(parsed.customId, extension));
        await saveSound(work, sound, path);
      } else if (text !== undefined) {
        const [, base = parsed.customId, extension = 'txt'] =
          /^(.+)\.(srt|vtt|txt)$/.exec(parsed.customId) ?? [];
        await saveText(join(folder, names.nameOf(base, extension)), text);
      } else continue;
      count += 1;
    }
  };
  await Promise.all(Array.from({ length: DOWNLOADS_AT_ONCE }, fetchSome));
  return count;
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
