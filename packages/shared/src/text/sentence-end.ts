import type { Abbreviations } from './abbreviations.ts';
import {
  isBlank,
  isDigit,
  isGluedCloser,
  isLetter,
  isLower,
  isOpener,
  isTerminator,
  isUpper,
  isWideTerminator,
} from './marks.ts';

/** A run of marks that may end a sentence or a clause; indices into the cutter's characters. */
export interface Mark {
  kind: 'sentence' | 'clause';
  /** Its first mark. */
  start: number;
  /** Behind its last mark. */
  marksEnd: number;
  /** Behind the closers that follow the marks: where a cut would be. */
  end: number;
  /** Needs no blank behind it. */
  wide: boolean;
  /** A blank stands behind `end`. */
  blank: boolean;
  /** A quotation mark stands behind that blank, not known yet to be an opening or a closing one. */
  quote: boolean;
}

const MOST_WORD_CHARACTERS = 20;
const DOTTED = /^\p{L}{1,3}(?:\.-?\p{L}{1,3})+$/u;
const INITIAL = /^\p{Lu}$/u;
const SHORT_NUMBER = /^\p{Nd}{1,2}$/u;
const LIST_NUMBER = /^(?:\p{Nd}{1,3}|\p{Ll})$/u;
const QUOTING_PARTICLES = new Set('とっ');

/**
 * Whether a run of terminators ends the sentence, given the next character that is not a blank.
 * The rules of the full stop are the abbreviations'; `!` and `?` always end one, but for a
 * quotation inside a sentence (`"Stop!" she said`); an ellipsis ends one before a capital only.
 */
export function endsSentence(
  characters: readonly string[],
  mark: Mark,
  next: string,
  abbreviations: Abbreviations,
): boolean {
  const marks = characters.slice(mark.start, mark.marksEnd).join('');
  const closed = mark.end > mark.marksEnd;
  if (marks.split('').some((character) => isWideTerminator(character))) {
    return !(closed && QUOTING_PARTICLES.has(next));
  }
  if (/[^.…]/.test(marks)) return !(closed && isLower(next));
  if (isLower(next)) return false;
  if (marks.length > 1 || marks === '…') return isUpper(next) || startsUncased(next);
  return closed || !isAbbreviation(characters, mark.start, next, abbreviations);
}

/** A letter of a script without capitals. */
function startsUncased(character: string): boolean {
  return isLetter(character) && !isLower(character) && !isUpper(character);
}

function isAbbreviation(
  characters: readonly string[],
  stop: number,
  next: string,
  { always, beforeNumber, beforeSmall, ordinals }: Abbreviations,
): boolean {
  const { word, wordStart } = wordBefore(characters, stop);
  if (always.has(word)) return true;
  if (beforeNumber.has(word) && isDigit(next)) return true;
  if (INITIAL.test(word)) return true;
  if (LIST_NUMBER.test(word) && isListPlace(characters, wordStart)) return true;
  if (ordinals && SHORT_NUMBER.test(word) && isUpper(next)) return true;
  return (beforeSmall.has(word) || DOTTED.test(word)) && (isDigit(next) || isOpener(next));
}

function wordBefore(
  characters: readonly string[],
  stop: number,
): { word: string; wordStart: number } {
  const first = Math.max(0, stop - MOST_WORD_CHARACTERS);
  let wordStart = stop;
  while (wordStart > first) {
    const character = characters[wordStart - 1] ?? '';
    if (isBlank(character) || isOpener(character) || isGluedCloser(character)) break;
    wordStart -= 1;
  }
  return { word: characters.slice(wordStart, stop).join(''), wordStart };
}

/** Where a list number stands: at the beginning, behind a sentence, or behind a colon. */
function isListPlace(characters: readonly string[], wordStart: number): boolean {
  let place = wordStart - 1;
  while (place >= 0 && isBlank(characters[place] ?? '')) place -= 1;
  const before = characters[place];
  return before === undefined || before === ':' || isTerminator(before);
}
