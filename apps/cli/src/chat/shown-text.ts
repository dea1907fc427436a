/** Puts an answer's spoken words and its written parts into one text. */
export interface ShownText {
  readonly text: string;
  /** `delta.content`: everything of a text answer, the code of a spoken one. */
  content(text: string): void;
  /** `delta.audio.transcript`. */
  transcript(text: string): void;
}

/**
 * A server may send the whole text in `content` and its words once more as transcript. That is
 * decided at the first words: those of code alone do not begin the same way.
 */
export function createShownText(show: (text: string) => void): ShownText {
  let shown = '';
  let written = '';
  let transcriptIsNew: boolean | undefined;
  const add = (text: string): void => {
    if (text === '') return;
    shown += text;
    show(text);
  };
  return {
    get text() {
      return shown;
    },
    content(text) {
      written += text;
      add(text);
    },
    transcript(text) {
      const letters = lettersOf(text);
      if (transcriptIsNew === undefined && letters !== '') {
        transcriptIsNew = !lettersOf(written).startsWith(letters);
      }
      if (transcriptIsNew !== false) add(text);
    },
  };
}

const lettersOf = (text: string): string => text.replaceAll(/[^\p{L}\p{N}]/gu, '');
