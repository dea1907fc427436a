// All in weighted characters, see `weightOf`.
/** A sentence shorter than this joins the next one; the first one is spoken as soon as it is there. */
const SHORT_SENTENCE_WEIGHT = 24;
/** From where the phrases 0, 1, 2, 3 are cut at a clause; later ones from the last number. */
const CLAUSE_WEIGHTS = [10, 25, 45, 80, 140];
const FIRST_SPACELESS_WEIGHT = 20;

/** What the next phrase has to weigh to be cut at a mark: little for the first ones, where somebody waits. */
export class CutWeights {
  readonly #isAwaited: boolean;
  #count = 0;

  constructor(isAwaited: boolean) {
    this.#isAwaited = isAwaited;
  }

  /** A phrase was given. */
  count(): void {
    this.#count += 1;
  }

  /** No phrase was given yet. */
  get isFirst(): boolean {
    return this.#count === 0;
  }

  /** Somebody waits for the first sound. */
  get isFirstAwaited(): boolean {
    return this.isFirst && this.#isAwaited;
  }

  get sentence(): number {
    return this.isFirst ? 0 : SHORT_SENTENCE_WEIGHT;
  }

  get clause(): number {
    const last = CLAUSE_WEIGHTS.length - 1;
    return CLAUSE_WEIGHTS[this.#isAwaited ? Math.min(this.#count, last) : last] ?? 0;
  }

  /** Of a clause where blanks stand between clauses, as in Thai. */
  get spacelessClause(): number {
    return this.isFirstAwaited ? FIRST_SPACELESS_WEIGHT : this.clause;
  }
}
