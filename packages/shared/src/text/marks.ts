/** The punctuation that phrases are cut by. Every function takes one character. */

const ASCII_TERMINATORS = new Set('.!?…‼⁇⁈⁉');
/** These end a sentence without a blank behind them. */
const WIDE_TERMINATORS = new Set('。！？｡．।॥؟۔։።။។');
const ASCII_CLAUSE_MARKS = new Set(',;:');
const WIDE_CLAUSE_MARKS = new Set('—،؛、，；：');
/** With the marks of writing direction, which may stand between a mark and the blank. */
const CLOSERS = new Set(')]}”」』）》】〉〕’\u200e\u200f\u202c\u2069');
/** Either side of a quotation, by where the blank is. */
const QUOTES = new Set('"\'»’');
/** Openers in most languages that close a quotation in German, Polish or Danish. */
const GLUED_CLOSERS = new Set('“«‹›');
const OPENERS = new Set('¿¡「『（《【〈〔([{“„«‹‚‘');
const NARROW_BLANKS = new Set('\u00a0\u202f');

const LETTER = /\p{L}/u;
const DIGIT = /\p{N}/u;
const UPPER = /\p{Lu}|\p{Lt}/u;
const LOWER = /\p{Ll}/u;
const COMBINING = /\p{M}/u;
const BLANK = /\s/;
const IDEOGRAPHIC =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}\p{Script=Bopomofo}]/u;
const FIRST_IDEOGRAPHIC = 0x1100;
const SPACELESS = /[\p{Script=Thai}\p{Script=Lao}]/u;
const ASCII_PUNCTUATION = /^[!-/:-@[-`{-~]$/;
const GREEK = /\p{Script=Greek}/u;

export const isAsciiPunctuation = (character: string): boolean => ASCII_PUNCTUATION.test(character);
export const isLetter = (character: string): boolean => LETTER.test(character);
export const isDigit = (character: string): boolean => DIGIT.test(character);
export const isSpeakable = (character: string): boolean =>
  isLetter(character) || isDigit(character);
export const isUpper = (character: string): boolean => UPPER.test(character);
export const isLower = (character: string): boolean => LOWER.test(character);
export const isGreek = (character: string): boolean => GREEK.test(character);
export const isBlank = (character: string): boolean => BLANK.test(character);
/** A blank that keeps what stands around it together: French `Quoi ?`, `10 %`. */
export const isNarrowBlank = (character: string): boolean => NARROW_BLANKS.has(character);
/** Thai and Lao put a blank where others put a comma or a full stop. */
export const isSpaceless = (character: string): boolean => SPACELESS.test(character);

export const isWideTerminator = (character: string): boolean => WIDE_TERMINATORS.has(character);
export const isTerminator = (character: string): boolean =>
  ASCII_TERMINATORS.has(character) || WIDE_TERMINATORS.has(character);
export const isWideClauseMark = (character: string): boolean => WIDE_CLAUSE_MARKS.has(character);
export const isClauseMark = (character: string): boolean =>
  ASCII_CLAUSE_MARKS.has(character) || WIDE_CLAUSE_MARKS.has(character);

export const isOpener = (character: string): boolean => OPENERS.has(character);
export const isQuote = (character: string): boolean => QUOTES.has(character);
/** Belongs to the left even behind a blank. */
export const isCloser = (character: string): boolean =>
  CLOSERS.has(character) && !QUOTES.has(character);
/** Belongs to the left when nothing stands between. */
export const isGluedCloser = (character: string): boolean =>
  CLOSERS.has(character) || QUOTES.has(character) || GLUED_CLOSERS.has(character);

/** What no phrase begins with: it belongs to what stands before. A dash may open a dialogue. */
export function isBadStart(character: string): boolean {
  if (character === '—') return false;
  return (
    isTerminator(character) ||
    isCloser(character) ||
    isClauseMark(character) ||
    COMBINING.test(character)
  );
}

/** How long a character takes to say beside a Latin letter: syllables and ideographs are 3. */
export function weightOf(character: string): number {
  const code = character.codePointAt(0) ?? 0;
  return code >= FIRST_IDEOGRAPHIC && IDEOGRAPHIC.test(character) ? 3 : 1;
}

/** A letter or digit of a script that writes words apart. */
export function isWordCharacter(character: string): boolean {
  return isSpeakable(character) && weightOf(character) === 1;
}
