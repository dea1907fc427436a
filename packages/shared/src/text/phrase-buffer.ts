import {
  isBadStart,
  isBlank,
  isDigit,
  isGluedCloser,
  isLetter,
  isNarrowBlank,
  isOpener,
  isQuote,
  isSpeakable,
  weightOf,
} from './marks.ts';

/** Weighted characters, see `weightOf`. */
const MOST_WEIGHT = 220;

/** The characters of the phrase to come and the few behind it, with what they weigh. */
export class PhraseBuffer {
  readonly characters: string[] = [];
  /** The first letter, and the first letter or digit. */
  letterAt = Infinity;
  speakableAt = Infinity;
  readonly #most: number;
  readonly #offsets: number[] = [];
  /** Up to and with each character measured. */
  #weights: number[] = [];
  #lengths: number[] = [];

  /** `most`: the engine's maximum in UTF-16 code units. */
  constructor(most: number) {
    this.#most = Math.max(1, Math.min(most, MOST_WEIGHT));
  }

  get length(): number {
    return this.characters.length;
  }

  at(index: number): string {
    return this.characters[index] ?? '';
  }

  add(character: string, offset: number): void {
    this.characters.push(character);
    this.#offsets.push(offset);
  }

  /** Blanks become one; a line end is the strongest, a narrow one the weakest. */
  addBlank(character: string, offset: number): void {
    const last = this.length - 1;
    if (!isBlank(this.at(last))) {
      this.add(isNarrowBlank(character) || character === '\n' ? character : ' ', offset);
    } else if (character === '\n') this.characters[last] = character;
    else if (isNarrowBlank(this.at(last))) this.characters[last] = ' ';
  }

  /** Puts a full stop before the blank at `index`. */
  insertStop(index: number): void {
    this.characters.splice(index, 1, '.', ' ');
    this.#offsets.splice(index, 0, this.#offsets[index] ?? 0);
    for (const place of [index, index + 1, index + 2]) this.measure(place);
  }

  measure(index: number): void {
    const character = this.at(index);
    this.#weights[index] = this.weightAt(index) + weightOf(character);
    this.#lengths[index] = (this.#lengths[index - 1] ?? 0) + character.length;
    if (isLetter(character)) this.letterAt = Math.min(this.letterAt, index);
    if (isSpeakable(character)) this.speakableAt = Math.min(this.speakableAt, index);
  }

  /** The weight of the characters before `end`. */
  weightAt(end: number): number {
    return this.#weights[end - 1] ?? 0;
  }

  /** Whether the characters before `end` may be a phrase. */
  fits(end: number): boolean {
    return this.weightAt(end) <= MOST_WEIGHT && (this.#lengths[end - 1] ?? 0) <= this.#most;
  }

  /** A blank, or an opening bracket or quote; `Hallo.“` closes one. */
  isTrailing(index: number): boolean {
    const character = this.at(index);
    if (isBlank(character)) return true;
    const glued = index > 0 && !isBlank(this.at(index - 1));
    return isOpener(character) && !(glued && isGluedCloser(character));
  }

  /** Whether a phrase may end before the blank at `end`, and the next one begin behind it. */
  splitsAt(end: number): boolean {
    const blank = this.at(end);
    if (end < 1 || !isBlank(blank) || isNarrowBlank(blank) || this.isTrailing(end - 1))
      return false;
    return !isBlank(this.at(end + 1)) && !isBadStart(this.at(end + 1));
  }

  /** Without blanks and openers at the end: they belong to nothing, or to what follows. */
  trimmedEnd(end: number): number {
    let trimmed = end;
    while (trimmed > 0 && this.isTrailing(trimmed - 1)) trimmed -= 1;
    return trimmed;
  }

  /** The text of the first `length` characters, and its place in what was pushed. */
  text(length: number): { text: string; rawStart: number; rawEnd: number } {
    const characters = this.characters.slice(0, length);
    return {
      text: characters.map((one) => (isBlank(one) ? ' ' : one)).join(''),
      rawStart: this.#offsets[0] ?? 0,
      rawEnd: (this.#offsets[length - 1] ?? 0) + this.at(length - 1).length,
    };
  }

  drop(count: number): void {
    this.characters.splice(0, count);
    this.#offsets.splice(0, count);
    this.#weights = [];
    this.#lengths = [];
    this.letterAt = Infinity;
    this.speakableAt = Infinity;
  }

  /**
   * How many characters at the beginning belong to something before that is gone: blanks, marks,
   * closers, a quote with a blank behind it. `.5` is a number.
   */
  orphans(): number {
    let count = 0;
    while (count < this.length && this.#isOrphan(count)) count += 1;
    return count;
  }

  #isOrphan(index: number): boolean {
    const character = this.at(index);
    const next = this.at(index + 1);
    if (character === '.' && (next === '' || isDigit(next))) return false;
    return isBlank(character) || isBadStart(character) || (isQuote(character) && isBlank(next));
  }
}
