import { characterLimit } from '../speech/character-limit.ts';
import { cutText } from '../speech/cut-text.ts';
import { type Book, missingParts } from './book.ts';
import type { BookChapter, BookPart } from './book-chapters.ts';
import type { BookCut } from './book-state.ts';

/** No server takes less: whoever says so means something else. */
const LEAST_CHARACTERS = 20;

/** A paragraph's pieces have no pause of ours in between. */
export function cutPart({ text, pauseMs }: BookPart, maxCharacters: number): BookPart[] {
  const pieces = cutText(text, maxCharacters).map((piece) => piece.trim());
  return pieces.map((piece, at) => ({
    text: piece,
    pauseMs: at === pieces.length - 1 ? pauseMs : 0,
  }));
}

/** The chapters as they are after each cut that an earlier call has made. */
export function applyCuts(
  chapters: readonly BookChapter[],
  cuts: readonly BookCut[],
): readonly BookChapter[] {
  return cuts.reduce((whole, cut) => cutChapters(whole, cut), chapters);
}

/**
 * What is still to be spoken and longer than the server takes is cut again; all other parts keep
 * what is known of them. Returns whether there was any such part.
 */
export function cutAgain(
  book: Pick<Book, 'chapters' | 'progress'>,
  maxCharacters: number,
): boolean {
  if (maxCharacters < LEAST_CHARACTERS) return false;
  const long = missingParts(book).filter(({ text }) => text.length > maxCharacters);
  if (long.length === 0) return false;
  const cut = { maxCharacters, parts: long.map(({ index }) => index) };
  book.progress.sounds = renumber(book, cut, book.progress.sounds);
  book.progress.failures = renumber(book, cut, book.progress.failures);
  book.chapters = cutChapters(book.chapters, cut);
  book.progress.cuts.push(cut);
  return true;
}

/** Of a refusal of a text with so many characters: what to cut it to; undefined when it is for something else. */
export function limitFor(
  { code, message }: { code?: string | null | undefined; message: string },
  characters: number,
): number | undefined {
  const told = characterLimit(message);
  if (told !== undefined) return told < characters ? told : undefined;
  return code === 'string_too_long' ? Math.floor(characters / 2) : undefined;
}

function cutChapters(
  chapters: readonly BookChapter[],
  { maxCharacters, parts }: BookCut,
): BookChapter[] {
  const long = new Set(parts);
  let index = 0;
  return chapters.map((chapter) => ({
    ...chapter,
    parts: chapter.parts.flatMap((part) =>
      long.has(index++) ? cutPart(part, maxCharacters) : [part],
    ),
  }));
}

/** What is known of parts, by their numbers after the cut. */
function renumber<T>(
  { chapters }: Pick<Book, 'chapters'>,
  { maxCharacters, parts }: BookCut,
  known: Readonly<Record<string, T>>,
): Record<string, T> {
  const long = new Set(parts);
  const renumbered: Record<string, T> = {};
  let next = 0;
  for (const [index, part] of chapters.flatMap((chapter) => chapter.parts).entries()) {
    const value = known[index];
    if (long.has(index)) next += cutPart(part, maxCharacters).length;
    else {
      if (value !== undefined) renumbered[next] = value;
      next += 1;
    }
  }
  return renumbered;
}
