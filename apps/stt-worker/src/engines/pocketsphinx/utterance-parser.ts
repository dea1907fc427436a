/** One recognised stretch of speech, times as the recogniser counts them. */
export interface Utterance {
  words: RecognisedWord[];
}

export interface RecognisedWord {
  /** As in the dictionary: lower case, `word(2)` for another pronunciation, `<sil>`, `[NOISE]`. */
  entry: string;
  startSeconds: number;
  endSeconds: number;
  /** Posterior probability; rounding in the recogniser takes it a little above 1. */
  probability: number;
}

const WORD_LINE = /^(\S+) (\d+\.\d+) (\d+\.\d+) (\S+)$/;
const SENTENCE_START = '<s>';
const SENTENCE_END = '</s>';

/**
 * Reads what `pocketsphinx_continuous -time yes` prints: per utterance one line of text, then one
 * line `entry start end probability` per word, from `<s>` to (mostly) `</s>`.
 */
export class UtteranceParser {
  #words: RecognisedWord[] = [];

  /** Returns the utterance that this line ends, if it does. */
  line(line: string): Utterance | undefined {
    const [, entry, start, end, probability] = WORD_LINE.exec(line) ?? [];
    if (entry === undefined) return this.end();
    const finished = entry === SENTENCE_START ? this.end() : undefined;
    this.#words.push({
      entry,
      startSeconds: Number(start),
      endSeconds: Number(end),
      probability: Number(probability),
    });
    return finished ?? (entry === SENTENCE_END ? this.end() : undefined);
  }

  /** What was read of an utterance that has no `</s>` (it happens when its last word is cut off). */
  end(): Utterance | undefined {
    const words = this.#words;
    this.#words = [];
    return words.length === 0 ? undefined : { words };
  }
}
