import { BareUrl, startsUrl } from './bare-url.ts';
import { Formula, type Hold, LinkTarget, Tag } from './inline-holds.ts';
import { keepsMarkRun } from './mark-run.ts';
import { isWordCharacter } from './marks.ts';
import { type PeekingSink, SpokenText } from './spoken-text.ts';
import type { TextSink, Unit } from './text-sink.ts';

const ASCII_PUNCTUATION = /^[!-/:-@[-`{-~]$/;
const RUN_MARKS = new Set('*_~`');
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
  readonly #spoken: SpokenText;
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

  constructor(sink: PeekingSink) {
    this.#spoken = new SpokenText(sink);
  }

  character(character: string, offset: number): void {
    this.#step({ character, offset });
  }

  boundary(): void {
    this.#settle();
    if (!this.muted) this.#spoken.boundary();
  }

  end(): void {
    this.#settle();
    this.#spoken.end();
  }

  #settle(): void {
    while (this.#state.kind !== 'text') this.#stop(this.#state);
    this.#previous = '';
    this.#codeRun = 0;
    this.#keptBrackets = 0;
  }

  /** Decides what is undecided, as if nothing followed. */
  #stop(state: Exclude<State, { kind: 'text' }>): void {
    this.#state = TEXT;
    if (state.kind === 'run') this.#endRun(state.units, '');
    if (state.kind === 'bang') this.#say(state.unit);
    if (state.kind === 'word') this.#sayAll(state.units);
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
      this.#spoken.announce(unit);
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
    switch (unit.character) {
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
        return this.#startHold(new Tag(), unit);
      case '$':
        return this.#startHold(new Formula('$'), unit);
      default:
        return false;
    }
  }

  #openBracket(): boolean {
    if (isWordCharacter(this.#previous)) {
      this.#keptBrackets += 1;
      return false;
    }
    if (this.#previous === ']') this.#spoken.leaveGap();
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
    const { character } = unit;
    if (state.kind === 'label-end') {
      if (character === '(' && this.#startHold(new LinkTarget(), unit)) return;
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
    if (character === '(' || character === '[') {
      if (this.#startHold(new Formula(`\\${character}`), backslash, unit)) return true;
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

  /** False for text that was held for the same construct before. */
  #startHold(hold: Hold, ...units: [Unit, ...Unit[]]): boolean {
    if (units[0].offset < this.#released[hold.kind]) return false;
    this.#state = { kind: 'hold', hold, units };
    return true;
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
      const again = hold.kind === 'tag' && units.length > 1 && last?.character === '<' ? 0 : 1;
      this.#released[hold.kind] = (last?.offset ?? 0) + again;
      this.#replay(units);
      return;
    }
    this.#previous = hold.kind === 'link' ? ')' : '';
    if (hold.kind === 'math') this.#spoken.leaveGap();
    if (hold instanceof Tag) this.#endTag(hold, units);
  }

  #endTag(tag: Tag, units: Unit[]): void {
    const meaning = tag.meaning();
    if (meaning === 'address' && !this.muted) {
      this.#replay(units.slice(1, -1));
      if (this.#state.kind !== 'text') this.#stop(this.#state);
      return;
    }
    if (meaning !== 'inline' && meaning !== 'address') this.boundary();
    if (meaning === 'think') this.muted = true;
    if (meaning === 'think-end') this.muted = false;
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

  #endRun(units: Unit[], next: string): void {
    const mark = units[0]?.character ?? '';
    const length = units.length;
    const previous = this.#previous;
    const inCode = this.#codeRun > 0;
    if (mark === '`') {
      if (!inCode) this.#codeRun = length;
      else if (this.#codeRun === length) this.#codeRun = 0;
    } else if (keepsMarkRun({ mark, length, previous, next, inCode })) this.#sayAll(units);
    this.#previous = mark;
  }

  #word(state: { units: Unit[]; text: string }, unit: Unit): void {
    const text = state.text + unit.character;
    const verdict = startsUrl(text);
    if (verdict === 'no') {
      this.#state = TEXT;
      this.#sayAll(state.units);
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
    this.#sayAll(host);
    this.#previous = host.at(-1)?.character ?? '';
    this.#released.url = (url.trailing.at(-1)?.offset ?? -1) + 1;
    this.#replay(url.trailing);
  }

  #say(unit: Unit): void {
    if (!this.muted) this.#spoken.say(unit);
  }

  #sayAll(units: readonly Unit[]): void {
    for (const unit of units) this.#say(unit);
  }
}
