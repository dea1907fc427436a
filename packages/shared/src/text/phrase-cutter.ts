import { type Abbreviations, chooseAbbreviations } from './abbreviations.ts';
import { findForcedCut } from './forced-cut.ts';
import { type DecidedMark, MarkReader } from './mark-reader.ts';
import {
  isBlank,
  isClauseMark,
  isDigit,
  isGluedCloser,
  isSpaceless,
  isSpeakable,
  isTerminator,
  isUpper,
} from './marks.ts';
import type { Pause } from './pause.ts';
import { PhraseBuffer } from './phrase-buffer.ts';
import { endsSentence } from './sentence-end.ts';
import type { PeekingSink } from './spoken-text.ts';

export interface CutPhrase {
  text: string;
  /** Where it stood in what was pushed, in UTF-16 code units: `[rawStart, rawEnd)`. */
  rawStart: number;
  rawEnd: number;
  pause: Pause;
  /** What stands between it and the phrase before in a transcript: nothing, a blank, or a blank line. */
  before: '' | ' ' | '\n\n';
}

interface Cut {
  end: number;
  pause: Pause;
}

export interface CutterOptions {
  language: string | undefined;
  maxCharacters: number | undefined;
  /** Ends a line without a mark by a full stop when the next line joins it. */
  insertStops: boolean;
  /** Somebody waits for the first sound: the first phrases are cut early. */
  isAwaited: boolean;
}

// In weighted characters, see `weightOf`.
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
export class PhraseCutter implements PeekingSink {
  readonly #abbreviations: Abbreviations;
  readonly #insertStops: boolean;
  readonly #isAwaited: boolean;
  readonly #emit: (phrase: CutPhrase) => void;
  readonly #buffer: PhraseBuffer;
  readonly #reader: MarkReader;
  /** Index of the first character not looked at. */
  #next = 0;
  /** The last place where a sentence or clause ends, and the blanks between words. */
  #lastMark: Cut | undefined;
  #blanks: number[] = [];
  #longChecked = false;
  #count = 0;
  #before: CutPhrase['before'] = '';

  constructor(
    { language, maxCharacters = Infinity, insertStops, isAwaited }: CutterOptions,
    emit: (phrase: CutPhrase) => void,
  ) {
    this.#abbreviations = chooseAbbreviations(language);
    this.#insertStops = insertStops;
    this.#isAwaited = isAwaited;
    this.#emit = emit;
    this.#buffer = new PhraseBuffer(maxCharacters);
    this.#reader = new MarkReader(language);
  }

  character(character: string, offset: number): void {
    const buffer = this.#buffer;
    if (isBlank(character)) buffer.addBlank(character, offset);
    else buffer.add(character, offset);
    if (buffer.length <= 2) this.#dropOrphans();
    this.#scan();
  }

  /** What the next character will be like: a stage before holds it, but a mark can be decided by it. */
  peek(next: string): void {
    const decided = this.#reader.peek(next);
    const cut = decided && this.#decide(decided);
    if (cut) this.#cut(cut);
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
    const { mark } = this.#reader;
    if (mark?.kind !== 'sentence' || mark.quote || this.#buffer.speakableAt >= mark.end) return;
    if (!endsSentence(this.#buffer.characters, mark, 'A', this.#abbreviations)) return;
    this.#cut({ end: mark.end, pause: 'sentence' });
  }

  #scan(): void {
    while (this.#next < this.#buffer.length) {
      const index = this.#next;
      this.#buffer.measure(index);
      this.#next += 1;
      const cut = this.#look(index);
      if (cut) this.#take(cut);
    }
  }

  #look(index: number): Cut | undefined {
    const decided = this.#reader.read(this.#buffer.characters, index);
    const cut = (decided && this.#decide(decided)) ?? this.#lookBehindBlank(index);
    if (cut) return cut;
    // Not `index`: a full stop may have been put before it.
    const current = this.#next - 1;
    this.#reader.open(this.#buffer.characters, current);
    return isBlank(this.#buffer.at(current)) ? undefined : this.#limit(current);
  }

  #decide({ mark, next }: DecidedMark): Cut | undefined {
    const { end, kind } = mark;
    const ends =
      kind === 'clause'
        ? !isDigit(next)
        : endsSentence(this.#buffer.characters, mark, next, this.#abbreviations);
    if (!ends || !this.#buffer.fits(end)) return undefined;
    this.#lastMark = { end, pause: kind };
    const enough = kind === 'clause' ? this.#clauseWeight() : this.#sentenceWeight();
    return this.#isPhrase(end, enough) ? this.#lastMark : undefined;
  }

  #clauseWeight(): number {
    const last = CLAUSE_WEIGHTS.length - 1;
    return CLAUSE_WEIGHTS[this.#isAwaited ? Math.min(this.#count, last) : last] ?? 0;
  }

  #sentenceWeight(): number {
    return this.#count === 0 ? 0 : SHORT_SENTENCE_WEIGHT;
  }

  /** Whether the characters before `end` are enough to speak; the first phrase needs a letter. */
  #isPhrase(end: number, weight: number): boolean {
    const { letterAt, speakableAt } = this.#buffer;
    const saysSomething = (this.#count === 0 ? letterAt : speakableAt) < end;
    return saysSomething && this.#buffer.weightAt(end) >= weight && this.#buffer.fits(end);
  }

  /** What a blank before a character means: a line end, a Thai clause, or a place for a forced cut. */
  #lookBehindBlank(index: number): Cut | undefined {
    const buffer = this.#buffer;
    const end = index - 1;
    if (this.#reader.mark || !buffer.splitsAt(end)) return undefined;
    if (buffer.fits(end)) this.#blanks.push(end);
    const character = buffer.at(index);
    const lineEnd = buffer.at(end) === '\n';
    if (lineEnd && (isUpper(character) || isDigit(character))) return this.#endLine(end);
    if (!isSpaceless(buffer.at(end - 1)) || !isSpaceless(character)) return undefined;
    if (buffer.fits(end)) this.#lastMark = { end, pause: 'clause' };
    const isFirst = this.#count === 0 && this.#isAwaited;
    const enough = isFirst ? FIRST_SPACELESS_WEIGHT : this.#clauseWeight();
    return this.#isPhrase(end, enough) ? { end, pause: 'clause' } : undefined;
  }

  /** A line that the next one joins is a clause; short ones get a full stop instead of a cut. */
  #endLine(end: number): Cut | undefined {
    const last = this.#buffer.at(end - 1);
    if (isTerminator(last)) return undefined;
    if (this.#isPhrase(end, this.#clauseWeight())) return { end, pause: 'clause' };
    if (!this.#insertStops || isClauseMark(last)) return undefined;
    if (!isSpeakable(last) && !isGluedCloser(last)) return undefined;
    this.#buffer.insertStop(end);
    this.#next += 1;
    if (this.#buffer.fits(end + 1)) this.#lastMark = { end: end + 1, pause: 'sentence' };
    return undefined;
  }

  /** The cut of a phrase that grew too long; waits for a mark that is nearly decided. */
  #limit(index: number): Cut | undefined {
    const buffer = this.#buffer;
    const { mark } = this.#reader;
    if (buffer.fits(index + 1)) {
      const isFirst = this.#count === 0 && this.#isAwaited;
      const begins = isFirst && !mark && isBlank(buffer.at(index - 1));
      return begins ? this.#limitFirst(index) : undefined;
    }
    if (mark && buffer.fits(mark.end) && index + 1 - mark.end <= LOOKAHEAD) return undefined;
    return this.#forcedCut();
  }

  /** Only where a word begins: a sentence that ends with the 91st character is not cut before it. */
  #limitFirst(index: number): Cut | undefined {
    const buffer = this.#buffer;
    if (this.#longChecked || buffer.weightAt(index) <= LONG_FIRST_WEIGHT) return undefined;
    this.#longChecked = true;
    const early = this.#blanks.filter((blank) => buffer.weightAt(blank) <= LONG_FIRST_CUT_WEIGHT);
    const last = early.at(-1);
    if (last === undefined || early.length < 2 || !this.#isPhrase(last, 0)) return undefined;
    return { end: last, pause: 'none' };
  }

  #forcedCut(): Cut {
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

  #flush(pause: Pause | undefined): void {
    const buffer = this.#buffer;
    while (!buffer.fits(buffer.trimmedEnd(buffer.length))) this.#cut(this.#forcedCut());
    if (buffer.length === 0) return;
    const atEnd = this.#reader.kindAtEnd(buffer.characters) ?? 'none';
    this.#cut({ end: buffer.length, pause: pause ?? atEnd });
  }

  #cut(cut: Cut): void {
    this.#take(cut);
    this.#scan();
  }

  /** Emits what is before the cut and begins anew behind it. */
  #take({ end, pause }: Cut): void {
    const length = this.#buffer.trimmedEnd(end);
    const before = this.#before;
    if (this.#buffer.speakableAt < length) {
      this.#count += 1;
      this.#before = '';
      this.#emit({ ...this.#buffer.text(length), pause, before });
    }
    this.#restart(end);
    this.#dropOrphans();
  }

  #dropOrphans(): void {
    const orphans = this.#buffer.orphans();
    if (orphans === 0) return;
    const blank = this.#buffer.characters.slice(0, orphans).some((one) => isBlank(one));
    if (blank && this.#count > 0 && this.#before === '') this.#before = ' ';
    this.#restart(orphans);
  }

  #restart(from: number): void {
    this.#buffer.drop(from);
    this.#reader.mark = undefined;
    this.#next = 0;
    this.#lastMark = undefined;
    this.#blanks = [];
    this.#longChecked = false;
  }
}
