import { HeldConstruct } from './held-construct.ts';
import { Formula, type Hold, LinkTarget, Tag } from './inline-holds.ts';
import { isRunMark, MarkRun } from './mark-run.ts';
import { isAsciiPunctuation, isWordCharacter } from './marks.ts';
import { OpenMarks } from './open-marks.ts';
import { type PeekingSink, SpokenText } from './spoken-text.ts';
import type { TextSink, Unit } from './text-sink.ts';
import { UrlWord } from './url-word.ts';

type State =
  | { kind: 'text' }
  | { kind: 'run'; run: MarkRun }
  | { kind: 'escape'; unit: Unit }
  | { kind: 'bang'; unit: Unit }
  | { kind: 'label-end' }
  | { kind: 'word'; word: UrlWord }
  | { kind: 'hold'; held: HeldConstruct };

const TEXT: State = { kind: 'text' };

/**
 * The second stage: a block's Markdown → the words to say. Marks are stripped where they stand
 * instead of being matched, so that a stray one holds nothing back; links, tags and formulas, which
 * must be held to be told, are held for a bounded length and then let go as text.
 */
export class InlineStripper implements TextSink {
  readonly #spoken: SpokenText;
  #state: State = TEXT;
  /** The last character of the source, for what marks stand between. */
  #previous = '';
  readonly #open = new OpenMarks();
  /** Released text is not tried again for the same construct: up to these offsets. */
  readonly #released = { link: 0, tag: 0, math: 0, url: 0 };

  constructor(sink: PeekingSink) {
    this.#spoken = new SpokenText(sink);
  }

  /** Inside `<think>`: nothing is said. */
  get muted(): boolean {
    return this.#spoken.muted;
  }

  character(character: string, offset: number): void {
    this.#step({ character, offset });
  }

  boundary(): void {
    this.#settle();
    this.#spoken.boundary();
  }

  end(): void {
    this.#settle();
    this.#spoken.end();
  }

  #settle(): void {
    while (this.#state.kind !== 'text') this.#stop(this.#state);
    this.#previous = '';
    this.#open.reset();
  }

  /** Decides what is undecided, as if nothing followed. */
  #stop(state: Exclude<State, { kind: 'text' }>): void {
    this.#state = TEXT;
    if (state.kind === 'run') this.#endRun(state.run, '');
    if (state.kind === 'bang') this.#spoken.say(state.unit);
    if (state.kind === 'word') {
      if (state.word.isUrl) this.#endWord(state.word);
      else this.#spoken.sayAll(state.word.said);
    }
    if (state.kind === 'hold') this.#endHold(state.held, state.held.stop());
  }

  #step(unit: Unit): void {
    const state = this.#state;
    if (state.kind === 'text') this.#text(unit);
    else if (state.kind === 'hold') this.#hold(state.held, unit);
    else if (state.kind === 'run') this.#run(state.run, unit);
    else if (state.kind === 'word') this.#word(state.word, unit);
    else this.#second(state, unit);
  }

  #text(unit: Unit): void {
    const { character } = unit;
    if (this.muted) {
      if (character === '<') this.#startHold(new Tag(), unit);
      return;
    }
    if (character === '\n') this.#open.reset();
    if (isRunMark(character)) this.#state = { kind: 'run', run: new MarkRun(unit) };
    else if (/[hw]/i.test(character) && this.#mayStartUrl(unit)) {
      this.#state = { kind: 'word', word: new UrlWord(unit) };
      this.#spoken.announce(unit);
    } else if (this.#open.inCode || !this.#special(unit)) {
      this.#spoken.say(unit);
      this.#previous = character;
    }
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
        return this.#closeBracket(unit);
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
      this.#open.keepBracket();
      return false;
    }
    if (this.#previous === ']') this.#spoken.leaveGap();
    this.#previous = '[';
    return true;
  }

  #closeBracket(unit: Unit): boolean {
    if (this.#open.closeBracket()) this.#spoken.say(unit);
    this.#previous = ']';
    this.#state = { kind: 'label-end' };
    return true;
  }

  /** The one character more that `\`, `!` and `]` need. */
  #second(state: State, unit: Unit): void {
    this.#state = TEXT;
    const { character } = unit;
    if (state.kind === 'label-end') {
      if (character === '(' && this.#startHold(new LinkTarget(), unit)) return;
    } else if (state.kind === 'bang') {
      if (character !== '[') this.#spoken.say(state.unit);
      this.#previous = character === '[' ? '' : '!';
    } else if (state.kind === 'escape' && this.#escape(state.unit, unit)) return;
    this.#step(unit);
  }

  /** True when the second character was taken as well. */
  #escape(backslash: Unit, unit: Unit): boolean {
    const { character } = unit;
    if (character === '(' || character === '[') {
      if (this.#startHold(new Formula(`\\${character}`), backslash, unit)) return true;
    }
    if (isAsciiPunctuation(character)) {
      // A fence is never said, however it is written.
      if (character !== '`' && character !== '~') this.#spoken.say(unit);
      this.#previous = character;
      return true;
    }
    if (character !== '\n') {
      this.#spoken.say(backslash);
      this.#previous = '\\';
    }
    return false;
  }

  /** False for text that was held for the same construct before. */
  #startHold(hold: Hold, ...units: [Unit, ...Unit[]]): boolean {
    if (units[0].offset < this.#released[hold.kind]) return false;
    this.#state = { kind: 'hold', held: new HeldConstruct(hold, units) };
    return true;
  }

  #hold(held: HeldConstruct, unit: Unit): void {
    const verdict = held.add(unit);
    if (verdict === 'hold') return;
    this.#endHold(held, verdict === 'release' ? 'release' : 'drop');
    if (verdict === 'drop-before') this.#step(unit);
  }

  #endHold(held: HeldConstruct, verdict: 'drop' | 'release'): void {
    this.#state = TEXT;
    if (verdict === 'release') {
      this.#released[held.kind] = held.retryOffset;
      this.#replay(held.units);
      return;
    }
    this.#previous = held.kind === 'link' ? ')' : '';
    if (held.kind === 'math') this.#spoken.leaveGap();
    if (held.kind === 'tag') this.#endTag(held);
  }

  #endTag(held: HeldConstruct): void {
    const meaning = held.tagMeaning();
    if (meaning === 'address' && !this.muted) {
      this.#replay(held.units.slice(1, -1));
      if (this.#state.kind !== 'text') this.#stop(this.#state);
      return;
    }
    if (meaning !== 'inline' && meaning !== 'address') this.boundary();
    if (meaning === 'think') this.#spoken.muted = true;
    if (meaning === 'think-end') this.#spoken.muted = false;
  }

  #replay(units: readonly Unit[]): void {
    for (const unit of units) this.#step(unit);
  }

  #run(run: MarkRun, unit: Unit): void {
    if (run.add(unit)) return;
    this.#state = TEXT;
    this.#endRun(run, unit.character);
    this.#step(unit);
  }

  #endRun(run: MarkRun, next: string): void {
    const { inCode } = this.#open;
    if (run.mark === '`') this.#open.addTicks(run.units.length);
    if (run.isSaid({ previous: this.#previous, next, inCode })) this.#spoken.sayAll(run.units);
    this.#previous = run.mark;
  }

  #word(word: UrlWord, unit: Unit): void {
    if (word.add(unit)) return;
    this.#endWord(word);
    this.#step(unit);
  }

  #endWord({ said, trailing, isUrl }: UrlWord): void {
    this.#state = TEXT;
    this.#spoken.sayAll(said);
    this.#previous = said.at(-1)?.character ?? '';
    if (!isUrl) return;
    this.#released.url = (trailing.at(-1)?.offset ?? -1) + 1;
    this.#replay(trailing);
  }
}
