/** What a line of text has opened and not closed: a code span, square brackets that are said. */
export class OpenMarks {
  /** Length of the backtick run that opened a code span; 0 outside. */
  #codeRun = 0;
  /** `a[0]`. */
  #keptBrackets = 0;

  get inCode(): boolean {
    return this.#codeRun > 0;
  }

  /** A run of backticks: opens a code span, or closes one that as many opened. */
  addTicks(length: number): void {
    if (this.#codeRun === 0) this.#codeRun = length;
    else if (this.#codeRun === length) this.#codeRun = 0;
  }

  keepBracket(): void {
    this.#keptBrackets += 1;
  }

  /** Whether a closing bracket belongs to one that was kept. */
  closeBracket(): boolean {
    if (this.#keptBrackets === 0) return false;
    this.#keptBrackets -= 1;
    return true;
  }

  /** A line or a block is over. */
  reset(): void {
    this.#codeRun = 0;
    this.#keptBrackets = 0;
  }
}
