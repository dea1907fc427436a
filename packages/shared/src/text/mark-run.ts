import { isBlank, isDigit, isWordCharacter } from './marks.ts';
import type { Unit } from './text-sink.ts';

/** Longer runs are decoration, wherever they stand. */
const MOST_KEPT = 2;

const MARKS = new Set('*_~`');

export const isRunMark = (character: string): boolean => MARKS.has(character);

/** What is around a run: the characters before and behind it, the latter empty at the end of a block. */
export interface RunPlace {
  previous: string;
  next: string;
  inCode: boolean;
}

/** Marks of one kind side by side, as far as they have come: `*`, `_`, `~` or backticks. */
export class MarkRun {
  readonly mark: string;
  readonly units: Unit[];

  constructor(first: Unit) {
    this.mark = first.character;
    this.units = [first];
  }

  /** Takes the next character; false when it is another one. */
  add(unit: Unit): boolean {
    if (unit.character !== this.mark) return false;
    this.units.push(unit);
    return true;
  }

  /** Whether it is said: `5 * 3`, `5*3`, `snake_case`, `2**3` and `~5` are no emphasis; nor is it in code. */
  isSaid({ previous, next, inCode }: RunPlace): boolean {
    const { mark, units } = this;
    if (mark === '`' || units.length > MOST_KEPT) return false;
    if (mark === '~') return units.length === 1;
    if (inCode) return true;
    const between = isWordCharacter(previous) && isWordCharacter(next);
    if (mark === '_') return between;
    if (units.length > 1) return isDigit(previous) && isDigit(next);
    return between || ((previous === '' || isBlank(previous)) && isBlank(next));
  }
}
