import { Formula, type Hold, Tag, type Verdict } from './inline-holds.ts';
import type { Unit } from './text-sink.ts';

/** A link's target, a tag or a formula while it is held back, with the characters it may be let go as. */
export class HeldConstruct {
  readonly units: Unit[];
  readonly #hold: Hold;

  constructor(hold: Hold, units: Unit[]) {
    this.#hold = hold;
    this.units = units;
  }

  get kind(): Hold['kind'] {
    return this.#hold.kind;
  }

  /** `drop-before`: it is dropped, and ended before this character. */
  add(unit: Unit): Verdict | 'drop-before' {
    const hold = this.#hold;
    const verdict = hold.add(unit.character);
    if (verdict === 'drop' && hold instanceof Formula && hold.closed) return 'drop-before';
    this.units.push(unit);
    return verdict;
  }

  /** What becomes of it when nothing follows. */
  stop(): 'drop' | 'release' {
    return this.#hold.stop();
  }

  /** Of a whole tag; undefined for what is none. */
  tagMeaning(): ReturnType<Tag['meaning']> | undefined {
    return this.#hold instanceof Tag ? this.#hold.meaning() : undefined;
  }

  /** Where the same construct may begin again when this one is let go as text. */
  get retryOffset(): number {
    const last = this.units.at(-1);
    // What ends a tag may begin the next one.
    const again = this.kind === 'tag' && this.units.length > 1 && last?.character === '<' ? 0 : 1;
    return (last?.offset ?? 0) + again;
  }
}
