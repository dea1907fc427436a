import { BareUrl, startsUrl } from './bare-url.ts';
import { isEmoji, isEmojiModifier, isJoiner } from './emoji.ts';
import { Formula, type Hold, LinkTarget, Tag } from './inline-holds.ts';
import { isBadStart, isBlank, isDigit, isSpeakable, isWordCharacter } from './marks.ts';
import type { TextSink, Unit } from './text-sink.ts';

const ASCII_PUNCTUATION = /^[!-/:-@[-`{-~]$/;
const RUN_MARKS = new Set('*_~`');
/** Tags that begin or end a block. */
const BLOCK_TAG = /^<\/?(?:br|p|li|ul|ol|div|h[1-6]|tr|table|hr|blockquote|think|thinking)\b/i;
const THINK = /^<think(?:ing)?\b/i;
const THINK_END = /^<\/think(?:ing)?\b/i;
const ADDRESS = /^<(?:https?:\/\/\S+|[^\s<>/@]+@[^\s<>/@]+)>$/i;
/** Longer runs are decoration, wherever they stand. */
const MOST_KEPT_RUN = 2;

type State =
  | { kind: 'text' }
  | { kind: 'run'; units: Unit[] }
  | { kind: 'escape'; unit: Unit }
  | { kind: 'bang'; unit: Unit }
  | { kind: 'label-end' }
  | { kind: 'word'; units: Unit[]; text: string }
  | { kind: 'url'; url: BareUrl }
  | { kind: 'hold'; hold: Hold; units: Unit[] };

const TEXT: State = { kind: 'text' };

/**
 * The second stage: a block's Markdown → the words to say. Marks are stripped where they stand
 * instead of being matched, so that a stray one holds nothing back; links, tags and formulas, which
 * must be held to be told, are held for a bounded length and then let go as text.
 */
export class InlineStripper implements TextSink {
  readonly #sink: TextSink & { peek(next: string): void };
  /** Inside `<think>`: nothing is said. */
  muted = false;
  #state: State = TEXT;
  /** The last character of the source, for what marks stand between. */
  #previous = '';
  /** Length of the backtick run that opened a code span; 0 outside. */
  #codeRun = 0;
  /** Square brackets that were kept: `a[0]`. */
  #keptBrackets = 0;
  /** Released text is not tried again for the same construct: up to these offsets. */
  readonly #released = { link: 0, tag: 0, math: 0, url: 0 };
  #blank: Unit | undefined;
  /** Something that stood here was dropped. */
  #gap = false;
  #said = '';

  constructor(sink: TextSink & { peek(next: string): void }) {
    this.#sink = sink;
  }

  character(character: string, offset: number): void {
    this.#step({ character, offset });
  }

  boundary(): void {
    this.#settle();
    if (!this.muted) this.#sink.boundary();
  }

  end(): void {
    this.#settle();
    this.#sink.end();
  }

  #settle(): void {
    while (this.#state.kind !== 'text') this.#stop(this.#state);
    this.#previous = '';
    this.#codeRun = 0;
    this.#keptBrackets = 0;
    this.#blank = undefined;
    this.#gap = false;
    this.#said = '';
  }

  /** Decides what is undecided, as if nothing followed. */
  #stop(state: Exclude<State, { kind: 'text' }>): void {
    this.#state = TEXT;
    if (state.kind === 'run') this.#endRun(state.units, undefined);
    if (state.kind === 'bang') this.#say(state.unit);
    if (state.kind === 'word') for (const unit of state.units) this.#say(unit);
    if (state.kind === 'url') this.#endUrl(state.url);
    if (state.kind === 'hold') this.#endHold(state.hold, state.units, state.hold.stop());
  }

  #step(unit: Unit): void {
    const state = this.#state;
    if (state.kind === 'text') this.#text(unit);
    else if (state.kind === 'hold') this.#hold(state.hold, state.units, unit);
    else if (state.kind === 'run') this.#run(state.units, unit);
    else if (state.kind === 'word') this.#word(state, unit);
    else if (state.kind === 'url') {
      if (!state.url.add(unit)) {
        this.#endUrl(state.url);
        this.#step(unit);
      }
    } else this.#second(state, unit);
  }

  #text(unit: Unit): void {
    const { character } = unit;
    if (this.muted) {
      if (character === '<') this.#startHold(new Tag(), unit);
      return;
    }
    if (RUN_MARKS.has(character)) this.#state = { kind: 'run', units: [unit] };
    else if (character === '\n') this.#endLine(unit);
    else if (/[hw]/i.test(character) && this.#mayStartUrl(unit)) {
      this.#state = { kind: 'word', units: [unit], text: character };
      this.#bridge(unit);
      this.#sink.peek(character);
    } else if (this.#codeRun > 0 || !this.#special(unit)) {
      this.#say(unit);
      this.#previous = character;
    }
  }

  #endLine(unit: Unit): void {
    this.#codeRun = 0;
    this.#keptBrackets = 0;
    this.#say(unit);
    this.#previous = '\n';
  }

  #mayStartUrl({ offset }: Unit): boolean {
    return offset >= this.#released.url && !isWordCharacter(this.#previous);
  }

  /** Characters that mean something outside code; false for all others. */
  #special(unit: Unit): boolean {
    const { character, offset } = unit;
    switch (character) {
      case '\\':
        this.#state = { kind: 'escape', unit };
        return true;
      case '!':
        if (isWordCharacter(this.#previous)) return false;
        this.#state = { kind: 'bang', unit };
        return true;
      case '[':
        return this.#openBracket();
      case ']':
        this.#closeBracket(unit);
        return true;
      case '<':
        if (offset < this.#released.tag) return false;
        this.#startHold(new Tag(), unit);
        return true;
      case '$':
        if (offset < this.#released.math) return false;
        this.#startHold(new Formula('$'), unit);
        return true;
      default:
        return false;
    }
  }

  #openBracket(): boolean {
    if (isWordCharacter(this.#previous)) {
      this.#keptBrackets += 1;
      return false;
    }
    if (this.#previous === ']') this.#gap = true;
    this.#previous = '[';
    return true;
  }

  #closeBracket(unit: Unit): void {
    if (this.#keptBrackets > 0) {
      this.#keptBrackets -= 1;
      this.#say(unit);
    }
    this.#previous = ']';
    this.#state = { kind: 'label-end' };
  }

  /** The one character more that `\`, `!` and `]` need. */
  #second(state: State, unit: Unit): void {
    this.#state = TEXT;
    const { character, offset } = unit;
    if (state.kind === 'label-end') {
      if (character === '(' && offset >= this.#released.link) {
        this.#startHold(new LinkTarget(), unit);
        return;
      }
    } else if (state.kind === 'bang') {
      if (character !== '[') this.#say(state.unit);
      this.#previous = character === '[' ? '' : '!';
    } else if (state.kind === 'escape' && this.#escape(state.unit, unit)) {
      return;
    }
    this.#step(unit);
  }

  /** True when the second character was taken as well. */
  #escape(backslash: Unit, unit: Unit): boolean {
    const { character } = unit;
    const opensFormula = character === '(' || character === '[';
    if (opensFormula && backslash.offset >= this.#released.math) {
      this.#state = {
        kind: 'hold',
        hold: new Formula(character === '(' ? '\\(' : '\\['),
        units: [backslash, unit],
      };
      return true;
    }
    if (ASCII_PUNCTUATION.test(character)) {
      // A fence is never said, however it is written.
      if (character !== '`' && character !== '~') this.#say(unit);
      this.#previous = character;
      return true;
    }
    if (character !== '\n') {
      this.#say(backslash);
      this.#previous = '\\';
    }
    return false;
  }

  #startHold(hold: Hold, unit: Unit): void {
    this.#state = { kind: 'hold', hold, units: [unit] };
  }

  #hold(hold: Hold, units: Unit[], unit: Unit): void {
    const verdict = hold.add(unit.character);
    const lookahead = verdict === 'drop' && hold instanceof Formula && hold.closed;
    if (!lookahead) units.push(unit);
    if (verdict === 'hold') return;
    this.#endHold(hold, units, verdict);
    if (lookahead) this.#step(unit);
  }

  #endHold(hold: Hold, units: Unit[], verdict: 'drop' | 'release'): void {
    const last = units.at(-1);
    this.#state = TEXT;
    if (verdict === 'release') {
      // What ends a tag may begin the next one.
      const again = hold.kind === 'tag' && last?.character === '<' ? 0 : 1;
      this.#released[hold.kind] = (last?.offset ?? 0) + again;
      this.#replay(units);
      return;
    }
    this.#previous = hold.kind === 'link' ? ')' : '';
    if (hold.kind === 'math') this.#gap = true;
    if (hold.kind === 'tag') this.#endTag(hold.text, units);
  }

  #endTag(tag: string, units: Unit[]): void {
    if (ADDRESS.test(tag) && !this.muted) {
      this.#replay(units.slice(1, -1));
      if (this.#state.kind !== 'text') this.#stop(this.#state);
      return;
    }
    if (BLOCK_TAG.test(tag)) this.boundary();
    if (THINK.test(tag)) this.muted = true;
    if (THINK_END.test(tag)) this.muted = false;
  }

  #replay(units: Unit[]): void {
    for (const unit of units) this.#step(unit);
  }

  #run(units: Unit[], unit: Unit): void {
    if (unit.character === units[0]?.character) {
      units.push(unit);
      return;
    }
    this.#state = TEXT;
    this.#endRun(units, unit.character);
    this.#step(unit);
  }

  #endRun(units: Unit[], next: string | undefined): void {
    const mark = units[0]?.character ?? '';
    if (mark === '`') {
      if (this.#codeRun === 0) this.#codeRun = units.length;
      else if (this.#codeRun === units.length) this.#codeRun = 0;
    } else if (units.length <= MOST_KEPT_RUN && this.#keepsRun(mark, units.length, next)) {
      for (const unit of units) this.#say(unit);
    }
    this.#previous = mark;
  }

  /** Marks that are no emphasis: `5 * 3`, `5*3`, `snake_case`, `2**3`, `~5`, and all inside code. */
  #keepsRun(mark: string, length: number, next: string | undefined): boolean {
    const previous = this.#previous;
    if (mark === '~') return length === 1;
    if (this.#codeRun > 0) return true;
    if (next === undefined) return false;
    const between = isWordCharacter(previous) && isWordCharacter(next);
    if (mark === '_') return between;
    if (length > 1) return isDigit(previous) && isDigit(next);
    return between || ((previous === '' || isBlank(previous)) && isBlank(next));
  }

  #word(state: { units: Unit[]; text: string }, unit: Unit): void {
    const text = state.text + unit.character;
    const verdict = startsUrl(text);
    if (verdict === 'no') {
      this.#state = TEXT;
      for (const one of state.units) this.#say(one);
      this.#previous = state.text.at(-1) ?? '';
      this.#step(unit);
      return;
    }
    state.units.push(unit);
    state.text = text;
    if (verdict === 'yes') this.#state = { kind: 'url', url: new BareUrl() };
  }

  #endUrl(url: BareUrl): void {
    this.#state = TEXT;
    const host = url.host();
    for (const unit of host) this.#say(unit);
    this.#previous = host.at(-1)?.character ?? '';
    this.#released.url = (url.trailing.at(-1)?.offset ?? -1) + 1;
    this.#replay(url.trailing);
  }

  /** Passes a character on, unless it is a picture; closes the gap that a dropped thing left. */
  #say(unit: Unit): void {
    const { character } = unit;
    if (this.muted) return;
    if (isEmoji(character)) this.#gap = true;
    else if (isEmojiModifier(character) || (isJoiner(character) && !this.#joinsLetters())) return;
    else if (character === '\n') {
      this.#blank = undefined;
      this.#pass(unit);
    } else if (isBlank(character)) this.#blank ??= unit;
    else if (character !== '~' || this.#said !== '~') {
      this.#bridge(unit);
      this.#pass(unit);
    }
  }

  #joinsLetters(): boolean {
    return !this.#gap && /[\p{L}\p{M}]/u.test(this.#said);
  }

  #bridge({ character, offset }: Unit): void {
    const blank = this.#blank;
    const glued = isSpeakable(this.#said) && isSpeakable(character);
    const needed = blank ? !(this.#gap && isBadStart(character)) : this.#gap && glued;
    if (needed) this.#sink.character(blank?.character ?? ' ', blank?.offset ?? offset);
    this.#blank = undefined;
    this.#gap = false;
  }

  #pass({ character, offset }: Unit): void {
    this.#sink.character(character, offset);
    this.#said = character;
  }
}
