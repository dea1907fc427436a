/** Code is passed on by lines, longer ones in parts. */
const MOST_CHARACTERS = 1000;

/** Text that is shown and not said. How it is cut when passed on means nothing. */
export class UnspokenText {
  readonly #listener: (raw: string) => void;
  #raw = '';

  constructor(listener: (raw: string) => void) {
    this.#listener = listener;
  }

  add(raw: string): void {
    this.#raw += raw;
    if (raw.endsWith('\n') || this.#raw.length >= MOST_CHARACTERS) this.end();
  }

  end(): void {
    const raw = this.#raw;
    this.#raw = '';
    if (raw !== '') this.#listener(raw);
  }
}
