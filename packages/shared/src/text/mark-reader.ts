import {
  isBadStart,
  isBlank,
  isClauseMark,
  isCloser,
  isGluedCloser,
  isGreek,
  isNarrowBlank,
  isQuote,
  isTerminator,
  isWideClauseMark,
  isWideTerminator,
} from './marks.ts';
import type { Mark } from './sentence-end.ts';

/** A mark that is decided, and the character behind it and its blanks. */
export interface DecidedMark {
  mark: Mark;
  next: string;
}

/**
 * Reads the runs of marks that may end a sentence or clause, with the closers that go with them:
 * glued ones, and behind a blank those that can only be closers (`. »`, `. )`). ASCII marks need a
 * blank and the character behind it, wide ones one character.
 */
export class MarkReader {
  /** The run that is not decided yet. */
  mark: Mark | undefined;
  readonly #greek: boolean;

  /** Greek asks with a semicolon; told by the letter before it where the language is not known. */
  constructor(language: string | undefined) {
    this.#greek = /^el\b/i.test(language ?? '');
  }

  /** Takes the character at `index`; a mark that it decides is given back. */
  read(characters: readonly string[], index: number): DecidedMark | undefined {
    const mark = this.mark;
    if (!mark) return undefined;
    const character = characters[index] ?? '';
    const previous = characters[index - 1] ?? '';
    if (mark.quote) {
      mark.quote = false;
      if (!isBlank(character) && !isBadStart(character)) return this.#decide(mark, previous);
      mark.end = index;
      mark.blank = false;
    }
    if (isBlank(character)) {
      if (mark.wide) return this.#decide(mark, character);
      mark.blank = true;
    } else if (extend(mark, index, { character, previous })) mark.blank = false;
    else if (mark.blank && isQuote(character)) mark.quote = true;
    else if (mark.blank || mark.wide) return this.#decide(mark, character);
    else this.mark = undefined;
    return undefined;
  }

  /** Decides by a character that is still to come. */
  peek(next: string): DecidedMark | undefined {
    const mark = this.mark;
    if (!mark || mark.quote || !(mark.blank || mark.wide)) return undefined;
    return this.#decide(mark, next);
  }

  /** Begins a run at `index`, unless one is open. */
  open(characters: readonly string[], index: number): void {
    if (this.mark) return;
    const character = characters[index] ?? '';
    const kind = this.kindOf(character, characters[index - 1] ?? '');
    if (!kind) return;
    const wide = isWideTerminator(character) || isWideClauseMark(character);
    const end = index + 1;
    this.mark = { kind, start: index, marksEnd: end, end, wide, blank: false, quote: false };
  }

  kindOf(character: string, previous: string): Mark['kind'] | undefined {
    if (isTerminator(character)) return 'sentence';
    if (character === ';' || character === '\u037e') {
      return this.#greek || isGreek(previous) ? 'sentence' : 'clause';
    }
    if (character === '–') return isBlank(previous) ? 'clause' : undefined;
    return isClauseMark(character) ? 'clause' : undefined;
  }

  /** What the last mark ends, behind it closers at most. */
  kindAtEnd(characters: readonly string[]): Mark['kind'] | undefined {
    let place = characters.length - 1;
    const skipped = (character = '') => isBlank(character) || isGluedCloser(character);
    while (place > 0 && skipped(characters[place])) place -= 1;
    return this.kindOf(characters[place] ?? '', characters[place - 1] ?? '');
  }

  #decide(mark: Mark, next: string): DecidedMark {
    this.mark = undefined;
    return { mark, next };
  }
}

/** Whether a character belongs to the run. */
function extend(
  mark: Mark,
  index: number,
  { character, previous }: { character: string; previous: string },
): boolean {
  const terminator = isTerminator(character);
  const narrow = character === '»' && isNarrowBlank(previous);
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
