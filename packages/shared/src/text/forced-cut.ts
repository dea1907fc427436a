import { isBadStart, isOpener } from './marks.ts';

/** One locale for all processes: words of Thai, Chinese and Japanese are found by dictionary in any. */
const words = new Intl.Segmenter('en', { granularity: 'word' });
const graphemes = new Intl.Segmenter('en', { granularity: 'grapheme' });

/**
 * So many words are looked at behind a boundary before it counts: the dictionary is consulted for
 * the words around it, and the last one is cut off.
 */
const WORDS_BEHIND = 3;

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
  const boundaries = [...segmenter.segment(text)].map(({ index }) => index);
  const starts = new Set(boundaries.slice(0, segmenter === words ? -WORDS_BEHIND : undefined));
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
