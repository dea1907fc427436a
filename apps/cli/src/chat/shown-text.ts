/** Puts an answer's spoken words and its written parts into one text. */
export interface ShownText {
  readonly text: string;
  /** `delta.content`: everything of a text answer, the code of a spoken one. */
  content(text: string): void;
  /** `delta.audio.transcript`. */
  transcript(text: string): void;
}

/** Which of the two spoke last. */
type Source = 'content' | 'transcript';

const MOST_LINE_BREAKS = 2;

/**
 * A server may send the whole text in `content` and its words once more as transcript. That is
 * decided at the first words: those of code alone do not begin the same way. Where words and code
 * meet there is a line break, which belongs to neither of them on the wire.
 */
export function createShownText(show: (text: string) => void): ShownText {
  let shown = '';
  let written = '';
  let transcriptIsNew: boolean | undefined;
  let last: Source | undefined;
  const add = (text: string, source: Source): void => {
    if (text === '') return;
    const met = last !== undefined && last !== source ? meet(shown, text) : text;
    last = source;
    shown += met;
    show(met);
  };
  return {
    get text() {
      return shown;
    },
    content(text) {
      written += text;
      add(text, 'content');
    },
    transcript(text) {
      const letters = lettersOf(text);
      if (transcriptIsNew === undefined && letters !== '') {
        transcriptIsNew = !lettersOf(written).startsWith(letters);
      }
      if (transcriptIsNew !== false) add(text, 'transcript');
    },
  };
}

/** `text`, so that it begins on a line of its own, a blank one between at most. */
function meet(shown: string, text: string): string {
  const before = lineBreaks(/\n*$/.exec(shown));
  const leading = lineBreaks(/^[ \n]*/.exec(text));
  const wanted = Math.min(MOST_LINE_BREAKS, Math.max(1, before + leading));
  const indent = leading === 0 ? text : text.replace(/^[ \n]*\n/, '');
  return '\n'.repeat(Math.max(0, wanted - before)) + indent;
}

const lineBreaks = (match: RegExpExecArray | null): number =>
  (match?.[0] ?? '').split('\n').length - 1;
const lettersOf = (text: string): string => text.replaceAll(/[^\p{L}\p{N}]/gu, '');
