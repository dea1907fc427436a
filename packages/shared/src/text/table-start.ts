import { isBlank } from './marks.ts';
import type { Unit } from './text-sink.ts';

const MOST_LINE_CHARACTERS = 2000;

/** A line that begins with `|`, and what follows until it is clear whether it is a table's head. */
export class TableStart {
  /** The line, with its end. */
  readonly head: Unit[];
  /** What came of the next line, which makes it a table when it is all dashes and pipes. */
  readonly rule: Unit[] = [];
  #headEnded = false;

  constructor(head: Unit[]) {
    this.head = head;
  }

  add(unit: Unit): 'undecided' | 'table' | 'text' {
    const { character } = unit;
    if (!this.#headEnded) {
      this.head.push(unit);
      this.#headEnded = character === '\n';
      return this.head.length > MOST_LINE_CHARACTERS ? 'text' : 'undecided';
    }
    this.rule.push(unit);
    if (character === '\n') return this.isTable() ? 'table' : 'text';
    const goesOn = /[|:>-]/.test(character) || isBlank(character);
    return goesOn && this.rule.length <= MOST_LINE_CHARACTERS ? 'undecided' : 'text';
  }

  get units(): Unit[] {
    return [...this.head, ...this.rule];
  }

  /** Whether it is one when nothing follows. */
  isTable(): boolean {
    const characters = new Set(this.rule.map(({ character }) => character));
    return characters.has('-') && characters.has('|');
  }
}
