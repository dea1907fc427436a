import { findForcedCut } from './forced-cut.ts';
import { isBlank } from './marks.ts';
import type { Pause } from './pause.ts';
import type { PhraseBuffer } from './phrase-buffer.ts';
import type { Mark } from './sentence-end.ts';

/** Where a phrase ends, as an index into the buffer, and why. */
export interface Cut {
  end: number;
  pause: Pause;
}

/** A first phrase that came so far without a mark is cut at a blank within the first 70 %. */
const LONG_FIRST_WEIGHT = 90;
const LONG_FIRST_CUT_WEIGHT = 63;
/** A forced cut leaves no less, where it has a choice; so each character is looked at a few times at most. */
const LEAST_PART = 1 / 3;
/** A blank, a quotation mark and one more: what is waited for over the limit to know where a sentence ends. */
const LOOKAHEAD = 3;

/** Cuts a phrase that grew too long where it does the least harm. */
export class LengthLimit {
  readonly #buffer: PhraseBuffer;
  /** The last place where a sentence or clause ends, and the blanks between words. */
  #lastMark: Cut | undefined;
  #blanks: number[] = [];
  #longChecked = false;

  constructor(buffer: PhraseBuffer) {
    this.#buffer = buffer;
  }

  /** A sentence or clause ends there: not yet a phrase, but a good place. */
  addMark(cut: Cut): void {
    if (this.#buffer.fits(cut.end)) this.#lastMark = cut;
  }

  addBlank(end: number): void {
    if (this.#buffer.fits(end)) this.#blanks.push(end);
  }

  /** A new phrase begins. */
  restart(): void {
    this.#lastMark = undefined;
    this.#blanks = [];
    this.#longChecked = false;
  }

  /**
   * The cut that the character at `index` makes necessary. `mark` is one that is nearly decided, and
   * waited for; `isFirst`: somebody waits for this phrase.
   */
  look(index: number, mark: Mark | undefined, isFirst: boolean): Cut | undefined {
    const buffer = this.#buffer;
    if (buffer.fits(index + 1)) {
      const begins = isFirst && !mark && isBlank(buffer.at(index - 1));
      return begins ? this.#limitFirst(index) : undefined;
    }
    if (mark && buffer.fits(mark.end) && index + 1 - mark.end <= LOOKAHEAD) return undefined;
    return this.forcedCut();
  }

  /** Only where a word begins: a sentence that ends with the 91st character is not cut before it. */
  #limitFirst(index: number): Cut | undefined {
    const buffer = this.#buffer;
    if (this.#longChecked || buffer.weightAt(index) <= LONG_FIRST_WEIGHT) return undefined;
    this.#longChecked = true;
    const early = this.#blanks.filter((blank) => buffer.weightAt(blank) <= LONG_FIRST_CUT_WEIGHT);
    const last = early.at(-1);
    if (last === undefined || early.length < 2) return undefined;
    return buffer.letterAt < last && buffer.fits(last) ? { end: last, pause: 'none' } : undefined;
  }

  /** At the last mark, unless it leaves too little; else at a blank, else where two words may meet. */
  forcedCut(): Cut {
    const buffer = this.#buffer;
    let most = buffer.length;
    while (most > 1 && !buffer.fits(most)) most -= 1;
    const least = Math.ceil(most * LEAST_PART);
    const mark = this.#lastMark;
    if (mark && mark.end >= least) return mark;
    const blank = this.#blanks.at(-1);
    if (blank !== undefined) return { end: blank, pause: 'none' };
    return mark ?? { end: findForcedCut(buffer.characters, least, most), pause: 'none' };
  }
}
