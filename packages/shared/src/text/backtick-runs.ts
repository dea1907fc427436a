import type { Unit } from './text-sink.ts';

/** The shortest run that opens a fence. */
const FENCE_LENGTH = 3;
/** Behind such a run in the middle of a line: what is longer is text. */
const MOST_HELD = 1000;

/**
 * The runs of backticks in a line of text. One or two open or close inline code; three or more are
 * held with what follows until the same run (inline code) or the end of the line (a fence).
 */
export class BacktickRuns {
  /** What is not decided yet. */
  held: Unit[] = [];
  /** The run that opened what is held. */
  openRun = 0;
  /** The run that opened inline code; 0 outside. */
  #codeRun = 0;
  #run = 0;

  /** A new line begins, with inline code opened already or not. */
  reset(codeRun = 0): void {
    this.held = [];
    this.openRun = 0;
    this.#codeRun = codeRun;
    this.#run = 0;
  }

  /** `text`: what is held is text, this character included. */
  add(unit: Unit): 'undecided' | 'text' | 'fence' {
    this.held.push(unit);
    if (unit.character === '`') {
      this.#run += 1;
      return 'undecided';
    }
    return this.openRun > 0 ? this.#addBehind(unit) : this.#endRun(unit);
  }

  /** What is held when nothing follows. */
  end(): 'text' | 'fence' {
    return this.openRun === 0 || this.#closes() ? 'text' : 'fence';
  }

  #endRun({ character }: Unit): 'undecided' | 'text' | 'fence' {
    const run = this.#run;
    this.#run = 0;
    if (run >= FENCE_LENGTH && run !== this.#codeRun) {
      this.openRun = run;
      return character === '\n' ? 'fence' : 'undecided';
    }
    if (this.#codeRun === 0) this.#codeRun = run;
    else if (this.#codeRun === run) this.#codeRun = 0;
    return 'text';
  }

  #addBehind({ character }: Unit): 'undecided' | 'text' | 'fence' {
    const closes = this.#closes();
    const long = this.held.length >= MOST_HELD;
    if (closes && this.#run !== this.openRun) this.#codeRun = 0;
    else if (!closes && long) this.#codeRun = this.openRun;
    this.#run = 0;
    if (!closes && character === '\n') return 'fence';
    if (!closes && !long) return 'undecided';
    this.openRun = 0;
    return 'text';
  }

  #closes(): boolean {
    return this.#run > 0 && (this.#run === this.openRun || this.#run === this.#codeRun);
  }
}
