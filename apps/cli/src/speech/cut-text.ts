import { createPhraseSplitter } from '@antiphon/shared/text/phrase-splitter';

/**
 * Cuts a text at the ends of sentences into pieces of at most `maxCharacters` (UTF-16 units), as
 * few as possible. A piece without a letter or digit is never made: but for such runs, pieces put
 * together are the text.
 */
export function cutText(text: string, maxCharacters: number): string[] {
  if (text.length <= maxCharacters) return [text];
  const splitter = createPhraseSplitter({ markdown: false, maxCharacters });
  const ends = [...splitter.push(text), ...splitter.end()].map(({ rawEnd }) => rawEnd);
  const pieces: string[] = [];
  let start = 0;
  let end = 0;
  for (const next of ends) {
    if (next - start > maxCharacters && end > start) {
      pieces.push(text.slice(start, end));
      start = end;
    }
    end = next;
  }
  // What follows the last phrase has nothing to say, and may be too long to be sent with it.
  if (end > start) pieces.push(text.slice(start, end));
  return pieces.flatMap((piece) => cutRuns(piece, maxCharacters));
}

export const isSpeakable = (text: string): boolean => /[\p{L}\p{N}]/u.test(text);

/** A phrase has what is not said with it, as dots that lead to a page's number: thousands, in some books. */
function cutRuns(piece: string, maxCharacters: number): string[] {
  const cuts: string[] = [];
  let rest = piece;
  while (rest.length > maxCharacters) {
    const at = cutBefore(rest, maxCharacters);
    cuts.push(rest.slice(0, at));
    rest = rest.slice(at);
  }
  return cuts.length === 0 ? [piece] : [...cuts, rest].filter(isSpeakable);
}

/** Behind the last blank that leaves something to say in front of it, else in the middle of a word. */
function cutBefore(text: string, maxCharacters: number): number {
  const fits = text.slice(0, maxCharacters);
  const blank = fits.search(/\s\S*$/);
  if (blank > 0 && isSpeakable(fits.slice(0, blank))) return blank + 1;
  // Not between the halves of one letter.
  return fits.isWellFormed() || maxCharacters === 1 ? maxCharacters : maxCharacters - 1;
}
