import type { Unit } from './text-sink.ts';

/** A fence's language and title; what is longer is a fence all the same. */
const MOST_INFO_CHARACTERS = 200;

/** A line that begins with a fence's mark, until it is clear that it opens one. */
export class FenceStart {
  /** The line so far. */
  readonly held: Unit[];
  readonly mark: string;
  /** How often the mark stands there. */
  readonly run: number;
  /** Where the marks begin. */
  readonly contentStart: number;

  constructor(held: Unit[], contentStart: number, run: number) {
    this.held = held;
    this.mark = held[contentStart]?.character ?? '';
    this.run = run;
    this.contentStart = contentStart;
  }

  /** `text`: inline code at the beginning of a line; the character that tells is not held. */
  add(unit: Unit): 'undecided' | 'fence' | 'text' {
    if (unit.character === '`' && this.mark === '`') return 'text';
    this.held.push(unit);
    const isLong = this.held.length > this.contentStart + this.run + MOST_INFO_CHARACTERS;
    return unit.character === '\n' || isLong ? 'fence' : 'undecided';
  }
}
