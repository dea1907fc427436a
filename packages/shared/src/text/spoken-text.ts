import { isEmoji, isEmojiModifier, isJoiner } from './emoji.ts';
import { isBadStart, isBlank, isSpeakable } from './marks.ts';
import type { TextSink, Unit } from './text-sink.ts';

const SPELLED = /[\p{L}\p{M}]/u;

/** A sink that can look at the next character before it comes. */
export interface PeekingSink extends TextSink {
  peek(next: string): void;
}

/** What is left of a text when things are dropped from it: without pictures, holes or doubled blanks. */
export class SpokenText {
  /** Nothing is said. */
  muted = false;
  readonly #sink: PeekingSink;
  #blank: Unit | undefined;
  /** Something that stood here was dropped. */
  #gap = false;
  #last = '';

  constructor(sink: PeekingSink) {
    this.#sink = sink;
  }

  /** Two words that what was dropped stood between stay two. */
  leaveGap(): void {
    this.#gap = true;
  }

  say(unit: Unit): void {
    const { character } = unit;
    if (this.muted) return;
    if (isEmoji(character)) this.#gap = true;
    else if (isEmojiModifier(character) || (isJoiner(character) && !this.#joinsLetters())) return;
    else if (character === '\n') {
      this.#blank = undefined;
      this.#pass(unit);
    } else if (isBlank(character)) this.#blank ??= unit;
    // Together they would make a fence of what was none.
    else if (character !== '~' || this.#last !== '~') {
      this.#bridge(unit);
      this.#pass(unit);
    }
  }

  sayAll(units: readonly Unit[]): void {
    for (const unit of units) this.say(unit);
  }

  /** Tells what comes next when it cannot be said yet. */
  announce(unit: Unit): void {
    this.#bridge(unit);
    this.#sink.peek(unit.character);
  }

  boundary(): void {
    if (this.muted) return;
    this.#forget();
    this.#sink.boundary();
  }

  end(): void {
    this.#forget();
    this.#sink.end();
  }

  #forget(): void {
    this.#blank = undefined;
    this.#gap = false;
    this.#last = '';
  }

  #joinsLetters(): boolean {
    return !this.#gap && !this.#blank && SPELLED.test(this.#last);
  }

  /** The blank before a character; `Great 😀!` needs none, `Great😀Thing` one that was not there. */
  #bridge({ character, offset }: Unit): void {
    const blank = this.#blank;
    const glued = isSpeakable(this.#last) && isSpeakable(character);
    const needed = blank ? !(this.#gap && isBadStart(character)) : this.#gap && glued;
    if (needed) this.#pass({ character: blank?.character ?? ' ', offset: blank?.offset ?? offset });
    this.#blank = undefined;
    this.#gap = false;
  }

  #pass({ character, offset }: Unit): void {
    this.#sink.character(character, offset);
    this.#last = character;
  }
}
