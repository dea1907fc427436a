import { isBlank } from './marks.ts';

/** An open fence: looks for the line that closes it, without holding a line. */
export class CodeFence {
  readonly #mark: string;
  readonly #length: number;
  #run = 0;
  #state: 'lead' | 'run' | 'trail' | 'code' = 'lead';

  constructor(mark: string, length: number) {
    this.#mark = mark;
    this.#length = length;
  }

  /** True at the end of the line that closes the fence: the same mark, as often at least, nothing else. */
  add(character: string): boolean {
    if (character === '\n') return this.#endLine();
    if (this.#state === 'code') return false;
    if (character === this.#mark && this.#state !== 'trail') {
      this.#state = 'run';
      this.#run += 1;
    } else if (this.#state === 'lead') {
      if (!isBlank(character) && character !== '>') this.#state = 'code';
    } else {
      this.#state = isBlank(character) ? 'trail' : 'code';
    }
    return false;
  }

  #endLine(): boolean {
    const closes = this.#state !== 'code' && this.#run >= this.#length;
    this.#run = 0;
    this.#state = 'lead';
    return closes;
  }
}
