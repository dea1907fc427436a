import type { TextSink } from './text-sink.ts';
import { isBlank } from './marks.ts';

/** The first stage for text that is no Markdown: a blank line is a boundary, all else goes on. */
export class PlainLines implements TextSink {
  readonly #sink: TextSink;
  #afterLineEnd = false;

  constructor(sink: TextSink) {
    this.#sink = sink;
  }

  character(character: string, offset: number): void {
    if (character === '\n' && this.#afterLineEnd) {
      this.#sink.boundary();
      return;
    }
    this.#afterLineEnd = character === '\n' || (this.#afterLineEnd && isBlank(character));
    this.#sink.character(character, offset);
  }

  boundary(): void {
    this.#sink.boundary();
  }

  end(): void {
    this.#sink.end();
  }
}
