import { isBlank } from './marks.ts';
import type { Unit } from './text-sink.ts';

/**
 * What a line is, as soon as its first characters tell: `text` and `heading` go on with what is
 * held from `contentStart`; after `item` and `number` the content begins a line of its own;
 * `fence` is an opening one, unless a backtick follows; `rule` is a thematic break or an underline.
 */
export type LineKind =
  | 'undecided'
  | 'blank'
  | 'text'
  | 'heading'
  | 'item'
  | 'number'
  | 'fence'
  | 'rule'
  | 'code'
  | 'pipe';

const CODE_INDENT = 4;
const TAB_WIDTH = 4;
const MOST_HEADING_MARKS = 6;
const MOST_LIST_DIGITS = 3;
const FENCE_LENGTH = 3;
const RULE_MARKS = new Set('-*_=+•');
const LIST_MARKS = new Set('-*+•');

export interface LineContext {
  /** A line may be indented code: it follows a blank line, outside a list. */
  indentedCode: boolean;
  /** What came before in this line was a list marker. */
  afterMarker: boolean;
  /** It was a number: another one is text. */
  afterNumber: boolean;
}

/** Decides on the beginning of one line, character by character; holds no more than that. */
export class LineStart {
  held: Unit[] = [];
  /** Index in `held` of the first character behind blanks, `>` and markers. */
  contentStart = 0;
  indent = 0;
  quoted = false;
  /** The run of a fence. */
  run = 0;
  readonly context: LineContext;
  #state: 'lead' | 'fence' | 'heading' | 'rule' | 'number' | 'checkbox' = 'lead';
  #mark = '';

  constructor(context: LineContext) {
    this.context = context;
  }

  add(unit: Unit): LineKind {
    this.held.push(unit);
    const { character } = unit;
    switch (this.#state) {
      case 'lead':
        return this.#lead(character);
      case 'fence':
        return this.#fence(character);
      case 'heading':
        return this.#heading(character);
      case 'rule':
        return this.#rule(character);
      case 'number':
        return this.#number(character);
      default:
        return this.#checkbox(character);
    }
  }

  /** What the line is when nothing follows. */
  end(): LineKind {
    if (this.#state === 'fence' && this.run >= FENCE_LENGTH) return 'fence';
    return this.#state === 'number' || this.#state === 'checkbox' ? 'text' : 'blank';
  }

  #lead(character: string): LineKind {
    if (character === '\n') return 'blank';
    if (character === '>' || isBlank(character)) {
      this.contentStart = this.held.length;
      if (character === '>') this.quoted = true;
      this.indent = character === '>' ? 0 : this.indent + (character === '\t' ? TAB_WIDTH : 1);
      return 'undecided';
    }
    this.#mark = character;
    const code = this.#isCode();
    if (character === '`' || character === '~') {
      this.run = 1;
      this.#state = 'fence';
      return 'undecided';
    }
    if (code) return 'code';
    if (character === '|') return 'pipe';
    const state = this.#stateFor(character);
    if (!state) return 'text';
    this.#state = state;
    return 'undecided';
  }

  #stateFor(character: string): 'heading' | 'rule' | 'number' | 'checkbox' | undefined {
    if (character === '#') return 'heading';
    if (RULE_MARKS.has(character)) return 'rule';
    if (/\d/.test(character)) return this.context.afterNumber ? undefined : 'number';
    return character === '[' && this.context.afterMarker ? 'checkbox' : undefined;
  }

  #isCode(): boolean {
    return this.context.indentedCode && !this.quoted && this.indent >= CODE_INDENT;
  }

  #fence(character: string): LineKind {
    if (character === this.#mark) {
      this.run += 1;
      return 'undecided';
    }
    if (this.run >= FENCE_LENGTH) return 'fence';
    return this.#isCode() ? 'code' : 'text';
  }

  #heading(character: string): LineKind {
    const marks = this.held.length - 1 - this.contentStart;
    if (character === '#' && marks < MOST_HEADING_MARKS) return 'undecided';
    if (!isBlank(character)) return 'text';
    this.contentStart = this.held.length - 1;
    return 'heading';
  }

  #rule(character: string): LineKind {
    if (character === '\n') return 'rule';
    if (character === this.#mark || isBlank(character)) return 'undecided';
    return LIST_MARKS.has(this.#mark) && this.#dropMarkers() ? 'item' : 'text';
  }

  /** `- - text` is a list in a list; `--text` is no list. */
  #dropMarkers(): boolean {
    let place = this.contentStart;
    const characterAt = (index: number) => this.held[index]?.character ?? '';
    while (
      characterAt(place) === this.#mark &&
      (isBlank(characterAt(place + 1)) || this.#mark === '•')
    ) {
      place += 1;
      while (isBlank(characterAt(place))) place += 1;
    }
    const dropped = place > this.contentStart;
    this.contentStart = place;
    return dropped;
  }

  #number(character: string): LineKind {
    const length = this.held.length - 1 - this.contentStart;
    const stopped = /[.)]/.test(this.held.at(-2)?.character ?? '');
    if (stopped) return isBlank(character) && character !== '\n' ? 'number' : 'text';
    if (/[.)]/.test(character)) return 'undecided';
    return /\d/.test(character) && length < MOST_LIST_DIGITS ? 'undecided' : 'text';
  }

  /** `[ ]` or `[x]` and a blank. */
  #checkbox(character: string): LineKind {
    const length = this.held.length - this.contentStart;
    if (length === 2 && /[ x]/i.test(character)) return 'undecided';
    if (length === 3 && character === ']') return 'undecided';
    if (length === 4 && isBlank(character)) this.contentStart += 3;
    return 'text';
  }
}
