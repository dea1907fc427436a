import { createHash, randomUUID } from 'node:crypto';
import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import type { BookChapter } from './book-chapters.ts';

const NAME = '.antiphon-batch.json';

const sound = z.object({ fileId: z.string(), bytes: z.number() });

const chapter = z.object({
  file: z.string(),
  samples: z.number(),
  /** In samples from the chapter's beginning, of each part. */
  starts: z.array(z.number()),
});
export type WrittenChapter = z.output<typeof chapter>;

/** Parts, by their numbers before it, that were longer than the server takes. */
const cut = z.object({ maxCharacters: z.number(), parts: z.array(z.number()) });
export type BookCut = z.output<typeof cut>;

const schema = z.object({
  version: z.literal(1),
  /** Of the text and all that its sound depends on. */
  fingerprint: z.string(),
  baseUrl: z.string(),
  /** Tells the batches of this book from all others. */
  key: z.string(),
  roundsEnded: z.number(),
  cuts: z.array(cut).default([]),
  /** Left out: as many as servers usually take in a batch. */
  linesPerBatch: z.number().optional(),
  /** The batch that is not over, or not begun yet; parts by their number in the book. */
  round: z
    .object({
      inputFileId: z.string(),
      batchId: z.string().optional(),
      parts: z.array(z.number()),
    })
    .optional(),
  /** On the server, by part. */
  sounds: z.record(z.string(), sound),
  /** Parts that could not be spoken. */
  failures: z.record(z.string(), z.object({ tries: z.number(), message: z.string() })),
  /** On this disk, by number. */
  chapters: z.record(z.string(), chapter),
  /** Files of rounds that are over, still on the server. */
  spentFileIds: z.array(z.string()),
});
export type BookProgress = z.output<typeof schema>;

/** Tells books apart: by what is spoken, and how. */
export function fingerprintOf(chapters: readonly BookChapter[], options: object): string {
  return createHash('sha256')
    .update(JSON.stringify([chapters, options]))
    .digest('hex');
}

export function newProgress(fingerprint: string, baseUrl: string): BookProgress {
  return {
    ...{ version: 1, fingerprint, baseUrl, key: randomUUID(), roundsEnded: 0 },
    ...{ cuts: [], sounds: {}, failures: {}, chapters: {}, spentFileIds: [] },
  };
}

/** What was done of a book, beside its chapters. Undefined when there is nothing that can be read. */
export async function loadProgress(directory: string): Promise<BookProgress | undefined> {
  const text = await readFile(join(directory, NAME), 'utf8').catch(() => '');
  try {
    return schema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

/** A crash leaves the old one or the new one. */
export async function saveProgress(directory: string, progress: BookProgress): Promise<void> {
  const path = join(directory, NAME);
  await writeFile(`${path}.unfinished`, JSON.stringify(progress));
  await rename(`${path}.unfinished`, path);
}

export async function removeProgress(directory: string): Promise<void> {
  await rm(join(directory, NAME), { force: true });
}
