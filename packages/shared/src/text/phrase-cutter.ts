import { type Abbreviations, chooseAbbreviations } from './abbreviations.ts';
import { findForcedCut } from './forced-cut.ts';
import {
  isBadStart,
  isBlank,
  isClauseMark,
  isCloser,
  isDigit,
  isGluedCloser,
  isGreek,
  isLetter,
  isNarrowBlank,
  isOpener,
  isQuote,
  isSpaceless,
  isSpeakable,
  isTerminator,
  isUpper,
  isWideClauseMark,
  isWideTerminator,
  weightOf,
} from './marks.ts';
import { type Mark, endsSentence } from './sentence-end.ts';
import type { TextSink } from './text-sink.ts';

export interface CutPhrase {
  text: string;
  /** Where it stood in what was pushed, in UTF-16 code units: `[rawStart, rawEnd)`. */
  rawStart: number;
  rawEnd: number;
  /** The silence that belongs behind it, by the mark it was cut at; `none`: in the middle of a clause. */
  pause: 'none' | 'clause' | 'sentence' | 'paragraph';
  /** What stands between it and the phrase before in a transcript: nothing, a blank, or a blank line. */
  before: '' | ' ' | '\n\n';
}

type Pause = CutPhrase['pause'];
interface Cut {
  end: number;
  pause: Pause;
}

export interface CutterOptions {
  language: string | undefined;
  maxCharacters: number | undefined;
  /** Ends a line without a mark by a full stop when the next line joins it. */
  insertStops: boolean;
}

/** Weighted characters, see `weightOf`. */
const MOST_WEIGHT = 220;
/** A sentence shorter than this joins the next one; the first one is spoken as soon as it is there. */
const SHORT_SENTENCE_WEIGHT = 24;
/** From where the phrases 0, 1, 2, 3 are cut at a clause; later ones from the last number. */
const CLAUSE_WEIGHTS = [10, 25, 45, 80, 140];
const FIRST_SPACELESS_WEIGHT = 20;
/** A first phrase that came so far without a mark is cut at a blank within the first 70 %. */
const LONG_FIRST_WEIGHT = 90;
const LONG_FIRST_CUT_WEIGHT = 63;
/** A forced cut leaves no less, where it has a choice; so each character is looked at a few times at most. */
const LEAST_PART = 1 / 3;
/** A blank, a quotation mark and one more: what is waited for over the limit to know where a sentence ends. */
const LOOKAHEAD = 3;

/**
 * The last stage: plain characters → phrases. Holds one phrase and the few characters that decide
 * where it ends. A sentence ends a phrase; a clause does when the phrase is long enough, which is
 * early for the first one; nothing is longer than 220 weighted characters or the engine's maximum.
 */
export class PhraseCutter implements TextSink {
  readonly #abbreviations: Abbreviations;
  readonly #greek: boolean;
  readonly #most: number;
  readonly #insertStops: boolean;
  readonly #emit: (phrase: CutPhrase) => void;
  #characters: string[] = [];
  #offsets: number[] = [];
  /** Up to and with each character looked at. */
  #weights: number[] = [];
  #lengths: number[] = [];
  #next = 0;
  #mark: Mark | undefined;
  #lastMark: Cut | undefined;
  #blanks: number[] = [];
  /** The first letter, and the first letter or digit. */
  #letterAt = Infinity;
  #speakableAt = Infinity;
  #firstChecked = false;
  #count = 0;
  #before: CutPhrase['before'] = '';

  constructor(
    { language, maxCharacters = MOST_WEIGHT, insertStops }: CutterOptions,
    emit: (phrase: CutPhrase) => void,
  ) {
    this.#abbreviations = chooseAbbreviations(language);
    this.#greek = /^el\b/i.test(language ?? '');
    this.#most = Math.max(1, Math.min(maxCharacters, MOST_WEIGHT));
    this.#insertStops = insertStops;
    this.#emit = emit;
  }

  character(character: string, offset: number): void {
    if (isBlank(character)) this.#addBlank(character, offset);
    else {
      this.#characters.push(character);
      this.#offsets.push(offset);
    }
    if (this.#characters.length <= 2) this.#dropStart();
    this.#scan();
  }

  /** What the next character will be like: a stage before holds it, but a mark can be decided by it. */
  peek(next: string): void {
    const mark = this.#mark;
    if (!mark || mark.quote || !(mark.blank || mark.wide)) return;
    const cut = this.#decide(mark, next);
    if (!cut) return;
    this.#cut(cut);
    this.#scan();
  }

  boundary(): void {
    this.#flush('paragraph');
    if (this.#count > 0) this.#before = '\n\n';
  }

  end(): void {
    this.#flush(undefined);
  }

  /** Gives a complete sentence that waits only for the character behind it. */
  flushSentence(): void {
    const mark = this.#mark;
    if (mark?.kind !== 'sentence' || mark.quote || this.#speakableAt >= mark.end) return;
    if (!endsSentence(this.#characters, mark, 'A', this.#abbreviations)) return;
    this.#cut({ end: mark.end, pause: 'sentence' });
    this.#scan();
  }

  #addBlank(character: string, offset: number): void {
    const last = this.#characters.length - 1;
    const previous = this.#characters[last];
    if (previous === undefined) {
      if (this.#count > 0 && this.#before === '') this.#before = ' ';
    } else if (!isBlank(previous)) {
      this.#characters.push(isNarrowBlank(character) || character === '\n' ? character : ' ');
      this.#offsets.push(offset);
    } else if (character === '\n' || isNarrowBlank(previous)) {
      this.#characters[last] = character === '\n' ? character : ' ';
    }
  }

  /** Marks that belong to what was before have nothing to belong to; `.5` is a number. */
  #dropStart(): void {
    let dropped = 0;
    for (; dropped < this.#characters.length; dropped += 1) {
      const first = this.#characters[dropped] ?? '';
      const second = this.#characters[dropped + 1];
      if (first === '.' && (second === undefined || isDigit(second))) break;
      const orphan = isQuote(first) && second !== undefined && isBlank(second);
      if (!isBadStart(first) && !isBlank(first) && !orphan) break;
      if (isBlank(first) && this.#count > 0 && this.#before === '') this.#before = ' ';
    }
    if (dropped > 0) this.#restart(dropped);
  }

  #restart(from: number): void {
    this.#characters.splice(0, from);
    this.#offsets.splice(0, from);
    this.#weights = [];
    this.#lengths = [];
    this.#next = 0;
    this.#mark = undefined;
    this.#lastMark = undefined;
    this.#blanks = [];
    this.#letterAt = Infinity;
    this.#speakableAt = Infinity;
    this.#firstChecked = false;
  }

  #scan(): void {
    while (this.#next < this.#characters.length) {
      const index = this.#next;
      this.#measure(index);
      this.#next += 1;
      const cut = this.#look(index);
      if (cut) this.#cut(cut);
    }
  }

  #measure(index: number): void {
    const character = this.#characters[index] ?? '';
    this.#weights[index] = this.#weightAt(index) + weightOf(character);
    this.#lengths[index] = (this.#lengths[index - 1] ?? 0) + character.length;
    if (isLetter(character)) this.#letterAt = Math.min(this.#letterAt, index);
    if (isSpeakable(character)) this.#speakableAt = Math.min(this.#speakableAt, index);
  }

  /** The weight of the characters before `end`. */
  #weightAt(end: number): number {
    return this.#weights[end - 1] ?? 0;
  }

  #fits(end: number): boolean {
    return this.#weightAt(end) <= MOST_WEIGHT && (this.#lengths[end - 1] ?? 0) <= this.#most;
  }

  #look(index: number): Cut | undefined {
    const character = this.#characters[index] ?? '';
    const cut = this.#followMark(index, character) ?? this.#lookBehindBlank(index, character);
    if (cut) return cut;
    this.#mark ??= this.#openMark(this.#next - 1, character);
    return isBlank(character) ? undefined : this.#limit(this.#next - 1);
  }

  /** A mark is decided by what follows it; it takes the closers with it. */
  #followMark(index: number, character: string): Cut | undefined {
    const mark = this.#mark;
    if (!mark) return undefined;
    if (mark.quote) {
      mark.quote = false;
      if (!isBlank(character) && !isBadStart(character)) {
        return this.#decide(mark, this.#characters[index - 1] ?? '');
      }
      mark.end = index;
      mark.blank = false;
    }
    if (isBlank(character)) {
      if (mark.wide) return this.#decide(mark, character);
      mark.blank = true;
    } else if (this.#extend(mark, index, character)) {
      mark.blank = false;
    } else if (mark.blank && isQuote(character)) {
      mark.quote = true;
    } else if (mark.blank || mark.wide) {
      return this.#decide(mark, character);
    } else {
      this.#mark = undefined;
    }
    return undefined;
  }

  #extend(mark: Mark, index: number, character: string): boolean {
    const terminator = isTerminator(character);
    const narrow = character === '»' && isNarrowBlank(this.#characters[index - 1] ?? '');
    const closer = mark.blank ? isCloser(character) || narrow : isGluedCloser(character);
    const clauseMark = mark.kind === 'clause' && isClauseMark(character);
    if (!terminator && !closer && !clauseMark) return false;
    mark.end = index + 1;
    if (terminator && mark.kind === 'clause') {
      mark.kind = 'sentence';
      mark.start = index;
    }
    if (!closer) {
      mark.marksEnd = index + 1;
      mark.wide ||= isWideTerminator(character) || isWideClauseMark(character);
    }
    return true;
  }

  #decide(mark: Mark, next: string): Cut | undefined {
    this.#mark = undefined;
    const { end, kind } = mark;
    const ends =
      kind === 'clause'
        ? !isDigit(next)
        : endsSentence(this.#characters, mark, next, this.#abbreviations);
    if (!ends || !this.#fits(end)) return undefined;
    this.#lastMark = { end, pause: kind };
    const enough = kind === 'clause' ? this.#clauseWeight() : this.#sentenceWeight();
    return this.#weightAt(end) >= enough && this.#hasLetterBefore(end)
      ? { end, pause: kind }
      : undefined;
  }

  #clauseWeight(): number {
    return CLAUSE_WEIGHTS[Math.min(this.#count, CLAUSE_WEIGHTS.length - 1)] ?? 0;
  }

  #sentenceWeight(): number {
    return this.#count === 0 ? 0 : SHORT_SENTENCE_WEIGHT;
  }

  #hasLetterBefore(end: number): boolean {
    return (this.#count === 0 ? this.#letterAt : this.#speakableAt) < end;
  }

  #openMark(index: number, character: string): Mark | undefined {
    const kind = this.#kindOf(index, character);
    if (!kind) return undefined;
    const wide = isWideTerminator(character) || isWideClauseMark(character);
    const end = index + 1;
    return { kind, start: index, marksEnd: end, end, wide, blank: false, quote: false };
  }

  #kindOf(index: number, character: string): Mark['kind'] | undefined {
    if (isTerminator(character)) return 'sentence';
    const previous = this.#characters[index - 1] ?? '';
    if (character === ';' || character === '\u037e') {
      return this.#greek || isGreek(previous) ? 'sentence' : 'clause';
    }
    if (character === '–') return isBlank(previous) ? 'clause' : undefined;
    return isClauseMark(character) ? 'clause' : undefined;
  }

  /** What a blank before this character means: a line end, a Thai clause, or a place for a forced cut. */
  #lookBehindBlank(index: number, character: string): Cut | undefined {
    const blank = this.#characters[index - 1] ?? '';
    if (index < 2 || !isBlank(blank) || isBlank(character) || this.#mark) return undefined;
    const end = index - 1;
    const previous = this.#characters[end - 1] ?? '';
    if (isNarrowBlank(blank) || isBadStart(character) || this.#isTrailing(end - 1)) {
      return undefined;
    }
    if (blank === '\n' && (isUpper(character) || isDigit(character))) {
      return this.#endLine(end, previous);
    }
    if (this.#fits(end)) this.#blanks.push(end);
    if (!isSpaceless(previous) || !isSpaceless(character) || !this.#fits(end)) return undefined;
    this.#lastMark = { end, pause: 'clause' };
    const enough = this.#count === 0 ? FIRST_SPACELESS_WEIGHT : this.#clauseWeight();
    return this.#weightAt(end) >= enough ? { end, pause: 'clause' } : undefined;
  }

  #endLine(end: number, previous: string): Cut | undefined {
    const punctuated = isTerminator(previous) || isClauseMark(previous);
    const fits = this.#fits(end);
    const long = this.#weightAt(end) >= this.#clauseWeight() && this.#hasLetterBefore(end);
    if (fits && long && !isTerminator(previous)) return { end, pause: 'clause' };
    if (fits) this.#blanks.push(end);
    if (!this.#insertStops || punctuated || !(isSpeakable(previous) || isGluedCloser(previous))) {
      return undefined;
    }
    this.#characters.splice(end, 1, '.', ' ');
    this.#offsets.splice(end, 0, this.#offsets[end] ?? 0);
    for (let index = end; index < end + 3; index += 1) this.#measure(index);
    this.#next += 1;
    if (this.#fits(end + 1)) this.#lastMark = { end: end + 1, pause: 'sentence' };
    return undefined;
  }

  /** The cut of a phrase that grew too long; waits for a mark that is nearly decided. */
  #limit(index: number): Cut | undefined {
    const end = index + 1;
    const mark = this.#mark;
    if (this.#fits(end)) {
      const word = this.#count === 0 && !mark && isBlank(this.#characters[index - 1] ?? '');
      return word ? this.#limitFirst(index) : undefined;
    }
    if (mark && this.#fits(mark.end) && end - mark.end <= LOOKAHEAD) return undefined;
    return this.#forcedCut();
  }

  #limitFirst(end: number): Cut | undefined {
    if (this.#firstChecked || this.#weightAt(end) <= LONG_FIRST_WEIGHT) return undefined;
    this.#firstChecked = true;
    const early = this.#blanks.filter((blank) => this.#weightAt(blank) <= LONG_FIRST_CUT_WEIGHT);
    const last = early.at(-1);
    return last !== undefined && early.length > 1 && this.#hasLetterBefore(last)
      ? { end: last, pause: 'none' }
      : undefined;
  }

  #forcedCut(): Cut {
    let most = this.#characters.length;
    while (most > 1 && !this.#fits(most)) most -= 1;
    const least = Math.ceil(most * LEAST_PART);
    const mark = this.#lastMark;
    if (mark && mark.end >= least) return mark;
    const blank = this.#blanks.at(-1);
    if (blank !== undefined) return { end: blank, pause: 'none' };
    return mark ?? { end: findForcedCut(this.#characters, least, most), pause: 'none' };
  }

  #flush(pause: Pause | undefined): void {
    while (!this.#fits(this.#trimmedEnd(this.#characters.length))) {
      this.#cut(this.#forcedCut());
      this.#scan();
    }
    const end = this.#characters.length;
    if (end > 0) this.#cut({ end, pause: pause ?? this.#pauseAtEnd() });
  }

  #pauseAtEnd(): Pause {
    let place = this.#characters.length - 1;
    const skipped = (character: string) => isBlank(character) || isGluedCloser(character);
    while (place > 0 && skipped(this.#characters[place] ?? '')) place -= 1;
    return this.#kindOf(place, this.#characters[place] ?? '') ?? 'none';
  }

  /** Without blanks and openers at the end: they belong to nothing, or to what follows. */
  #trimmedEnd(end: number): number {
    let trimmed = end;
    while (trimmed > 0 && this.#isTrailing(trimmed - 1)) trimmed -= 1;
    return trimmed;
  }

  /** A blank, or an opening bracket or quote; `Hallo.“` closes one. */
  #isTrailing(index: number): boolean {
    const character = this.#characters[index] ?? '';
    if (isBlank(character)) return true;
    const glued = index > 0 && !isBlank(this.#characters[index - 1] ?? '');
    return isOpener(character) && !(glued && isGluedCloser(character));
  }

  #cut({ end, pause }: Cut): void {
    const length = this.#trimmedEnd(end);
    const characters = this.#characters.slice(0, length);
    if (characters.some((character) => isSpeakable(character))) {
      const text = characters.map((one) => (isBlank(one) ? ' ' : one)).join('');
      const rawStart = this.#offsets[0] ?? 0;
      const rawEnd = (this.#offsets[length - 1] ?? 0) + (characters.at(-1)?.length ?? 0);
      const before = this.#before;
      this.#count += 1;
      this.#before = '';
      this.#emit({ text, rawStart, rawEnd, pause, before });
    }
    this.#restart(end);
    this.#dropStart();
  }
}
