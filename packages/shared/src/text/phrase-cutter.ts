import { type Abbreviations, chooseAbbreviations } from './abbreviations.ts';
import { CutWeights } from './cut-weights.ts';
import { type Cut, LengthLimit } from './length-limit.ts';
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

export interface CutterOptions {
  language: string | undefined;
  maxCharacters: number | undefined;
  /** Ends a line without a mark by a full stop when the next line joins it. */
  insertStops: boolean;
  /** Somebody waits for the first sound: the first phrases are cut early. */
  isAwaited: boolean;
}

/**
 * The last stage: plain characters → phrases. Holds one phrase and the few characters that decide
 * where it ends. A sentence ends a phrase; a clause does when the phrase is long enough, which is
 * early for the first one; nothing is longer than 220 weighted characters or the engine's maximum.
 */
export class PhraseCutter implements PeekingSink {
  readonly #abbreviations: Abbreviations;
  readonly #insertStops: boolean;
  readonly #emit: (phrase: CutPhrase) => void;
  readonly #buffer: PhraseBuffer;
  readonly #reader: MarkReader;
  readonly #weights: CutWeights;
  readonly #limit: LengthLimit;
  /** Index of the first character not looked at. */
  #next = 0;
  #before: CutPhrase['before'] = '';

  constructor(
    { language, maxCharacters = Infinity, insertStops, isAwaited }: CutterOptions,
    emit: (phrase: CutPhrase) => void,
  ) {
    this.#abbreviations = chooseAbbreviations(language);
    this.#insertStops = insertStops;
    this.#emit = emit;
    this.#buffer = new PhraseBuffer(maxCharacters);
    this.#reader = new MarkReader(language);
    this.#weights = new CutWeights(isAwaited);
    this.#limit = new LengthLimit(this.#buffer);
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
    if (!this.#weights.isFirst) this.#before = '\n\n';
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
    if (isBlank(this.#buffer.at(current))) return undefined;
    return this.#limit.look(current, this.#reader.mark, this.#weights.isFirstAwaited);
  }

  #decide({ mark, next }: DecidedMark): Cut | undefined {
    const { end, kind } = mark;
    const ends =
      kind === 'clause'
        ? !isDigit(next)
        : endsSentence(this.#buffer.characters, mark, next, this.#abbreviations);
    if (!ends || !this.#buffer.fits(end)) return undefined;
    const cut = { end, pause: kind };
    this.#limit.addMark(cut);
    return this.#isPhrase(end, this.#weights[kind]) ? cut : undefined;
  }

  /** Whether the characters before `end` are enough to speak; the first phrase needs a letter. */
  #isPhrase(end: number, weight: number): boolean {
    const { letterAt, speakableAt } = this.#buffer;
    const saysSomething = (this.#weights.isFirst ? letterAt : speakableAt) < end;
    return saysSomething && this.#buffer.weightAt(end) >= weight && this.#buffer.fits(end);
  }

  /** What a blank before a character means: a line end, a Thai clause, or a place for a forced cut. */
  #lookBehindBlank(index: number): Cut | undefined {
    const buffer = this.#buffer;
    const end = index - 1;
    if (this.#reader.mark || !buffer.splitsAt(end)) return undefined;
    this.#limit.addBlank(end);
    const character = buffer.at(index);
    const lineEnd = buffer.at(end) === '\n';
    if (lineEnd && (isUpper(character) || isDigit(character))) return this.#endLine(end);
    if (!isSpaceless(buffer.at(end - 1)) || !isSpaceless(character)) return undefined;
    const cut: Cut = { end, pause: 'clause' };
    this.#limit.addMark(cut);
    return this.#isPhrase(end, this.#weights.spacelessClause) ? cut : undefined;
  }

  /** A line that the next one joins is a clause; short ones get a full stop instead of a cut. */
  #endLine(end: number): Cut | undefined {
    const last = this.#buffer.at(end - 1);
    if (isTerminator(last)) return undefined;
    if (this.#isPhrase(end, this.#weights.clause)) return { end, pause: 'clause' };
    if (!this.#insertStops || isClauseMark(last)) return undefined;
    if (!isSpeakable(last) && !isGluedCloser(last)) return undefined;
    this.#buffer.insertStop(end);
    this.#next += 1;
    this.#limit.addMark({ end: end + 1, pause: 'sentence' });
    return undefined;
  }

  #flush(pause: Pause | undefined): void {
    const buffer = this.#buffer;
    while (!buffer.fits(buffer.trimmedEnd(buffer.length))) this.#cut(this.#limit.forcedCut());
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
      this.#weights.count();
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
    if (blank && !this.#weights.isFirst && this.#before === '') this.#before = ' ';
    this.#restart(orphans);
  }

  #restart(from: number): void {
    this.#buffer.drop(from);
    this.#reader.mark = undefined;
    this.#next = 0;
    this.#limit.restart();
  }
}
