import { CodeFence } from './code-fence.ts';
import type { Unit } from './text-sink.ts';
import { UnspokenText } from './unspoken-text.ts';

/** What is shown and not said, once it has begun: fenced code, indented code, tables. */
export class RawBlock {
  readonly #unspoken: UnspokenText;
  #fence: CodeFence | undefined;
  /** Blank lines behind indented code, which belong to it when more code follows. */
  #codeBlanks: string | undefined;
  #isTable = false;

  constructor(onUnspoken: (raw: string) => void) {
    this.#unspoken = new UnspokenText(onUnspoken);
  }

  /** Whether the last line that was not blank was indented code. */
  get isCode(): boolean {
    return this.#codeBlanks !== undefined;
  }

  /** Whether the last line was a table's. */
  get isTable(): boolean {
    return this.#isTable;
  }

  show(units: readonly Unit[]): void {
    for (const { character } of units) this.#unspoken.add(character);
  }

  /** `opening`: its first line, or as much of it as is looked at; `run`: how often it has the mark. */
  openFence(opening: readonly Unit[], mark: string, run: number): void {
    this.show(opening);
    this.#fence = new CodeFence(mark, run);
    // The rest of a long opening line closes nothing.
    if (opening.at(-1)?.character !== '\n') this.#fence.add('.');
  }

  /** A line of indented code begins. */
  beginCode(): void {
    if (this.#codeBlanks) this.#unspoken.add(this.#codeBlanks);
    this.#codeBlanks = '';
    this.#isTable = false;
  }

  /** A table's head was shown: its rows follow, a line each. */
  beginTable(): void {
    this.#isTable = true;
  }

  /** Ends a table, and code unless more of it follows. */
  addBlankLine(raw: string): void {
    if (this.#codeBlanks !== undefined) this.#codeBlanks += raw;
    this.#isTable = false;
  }

  /** Something else follows than code or a row. */
  leave(): void {
    this.#codeBlanks = undefined;
    this.#isTable = false;
  }

  /** True with the last character: of a fence, or of a line outside. */
  add(character: string): boolean {
    this.#unspoken.add(character);
    if (!this.#fence) return character === '\n';
    if (!this.#fence.add(character)) return false;
    this.#fence = undefined;
    return true;
  }

  end(): void {
    this.#unspoken.end();
  }
}
