import { createPhraseSplitter } from '@antiphon/shared/text/phrase-splitter';

/**
 * Cuts a text at the ends of sentences into pieces of at most `maxCharacters` (UTF-16 units), as
 * few as possible. Pieces put together are the text; a piece without a letter or digit is never made.
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
  return pieces;
}
