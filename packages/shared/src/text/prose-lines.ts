import type { TextSink, Unit } from './text-sink.ts';

/** Prose on its way to the next stage, with what is said only when more of it follows. */
export class ProseLines {
  readonly #sink: TextSink & { readonly muted: boolean };
  /** A line end that joins two lines, unless the next one begins a block. */
  #lineEnd: Unit | undefined;
  /** A list item's number: said only when text follows. */
  number: readonly Unit[] = [];

  constructor(sink: TextSink & { readonly muted: boolean }) {
    this.#sink = sink;
  }

  /** Nothing is said, and whoever decides on that has to see every character. */
  get muted(): boolean {
    return this.#sink.muted;
  }

  get hasNumber(): boolean {
    return this.number.length > 0;
  }

  pass({ character, offset }: Unit): void {
    this.#sink.character(character, offset);
  }

  passAll(units: readonly Unit[]): void {
    for (const unit of units) this.pass(unit);
  }

  endLine(lineEnd: Unit): void {
    this.#lineEnd = lineEnd;
  }

  /** Text follows: says what waited for it. */
  join(): void {
    if (this.#lineEnd) this.pass({ character: '\n', offset: this.#lineEnd.offset });
    this.passAll(this.number);
    this.forget();
  }

  /** Something else follows. */
  forget(): void {
    this.#lineEnd = undefined;
    this.number = [];
  }

  /** A block ends or begins: lines are not joined over it. */
  break(): void {
    this.#lineEnd = undefined;
    this.#sink.boundary();
  }

  end(): void {
    this.#sink.end();
  }
}
