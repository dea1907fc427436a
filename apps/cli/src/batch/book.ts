import type { AudioFormat } from '@antiphon/shared/audio/audio-format';
import type { CliContext } from '../context.ts';
import type { BatchClient } from './batch-client.ts';
import type { BookChapter, BookPart } from './book-chapters.ts';
import { type BookProgress, saveProgress } from './book-state.ts';

/** How each part is asked for. */
export interface SpokenAs {
  voice: string;
  model?: string;
  speed?: number;
}

/** One book on its way from text to files. */
export interface Book {
  context: CliContext;
  client: BatchClient;
  title: string;
  chapters: readonly BookChapter[];
  spokenAs: SpokenAs;
  format: AudioFormat;
  /** Where the chapters are written. */
  directory: string;
  progress: BookProgress;
  /** Of each batch: `24h`. */
  window: string;
  keep: boolean;
  signal: AbortSignal;
}

export interface NumberedPart extends BookPart {
  /** In the book, from 0. */
  index: number;
  chapter: BookChapter;
}

/** All parts of the book, or of one chapter, with their numbers. */
export function partsOf({ chapters }: Pick<Book, 'chapters'>, only?: BookChapter): NumberedPart[] {
  const all = chapters.flatMap((chapter) => chapter.parts.map((part) => ({ ...part, chapter })));
  const numbered = all.map((part, index) => ({ ...part, index }));
  return only === undefined ? numbered : numbered.filter(({ chapter }) => chapter === only);
}

/** Parts that are neither on this disk nor on the server. */
export function missingParts(book: Pick<Book, 'chapters' | 'progress'>): NumberedPart[] {
  const { sounds, chapters } = book.progress;
  return partsOf(book).filter(
    ({ index, chapter }) => !(chapter.number in chapters) && !(index in sounds),
  );
}

export const save = ({ directory, progress }: Book): Promise<void> =>
  saveProgress(directory, progress);
