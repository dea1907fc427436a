import { isBadStart, isOpener } from './marks.ts';

/** One locale for all processes: words of Thai, Chinese and Japanese are found by dictionary in any. */
const words = new Intl.Segmenter('en', { granularity: 'word' });
const graphemes = new Intl.Segmenter('en', { granularity: 'grapheme' });

/**
 * Where to cut characters without a blank or mark, at most `most` of them: between two words, else
 * between two graphemes, at worst inside one. Not before `least`, unless nothing else is there.
 */
export function findForcedCut(characters: readonly string[], least: number, most: number): number {
  const text = characters.join('');
  return (
    lastBoundary(words, { text, characters, least, most }) ||
    lastBoundary(graphemes, { text, characters, least: 1, most }) ||
    most
  );
}

function lastBoundary(
  segmenter: Intl.Segmenter,
  {
    text,
    characters,
    least,
    most,
  }: { text: string; characters: readonly string[]; least: number; most: number },
): number {
  const starts = new Set<number>();
  for (const { index } of segmenter.segment(text)) starts.add(index);
  let offset = 0;
  let best = 0;
  for (let end = 1; end <= most; end += 1) {
    offset += characters[end - 1]?.length ?? 0;
    const next = characters[end] ?? '';
    const good = !isBadStart(next) && !isOpener(characters[end - 1] ?? '');
    if (end >= least && good && starts.has(offset)) best = end;
  }
  return best;
}
