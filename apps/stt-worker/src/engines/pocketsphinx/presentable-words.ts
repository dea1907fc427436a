import type { RecognisedWord } from './utterance-parser.ts';

const ALTERNATE = /\(\d+\)$/;
/** `<sil>`, `<s>`, `[NOISE]`, `[SPEECH]`, `++UH++`, `++BREATH++`. */
const FILLER = /^(<.*>|\[.*\]|\+\+.*\+\+)$/;
const FIRST_PERSON = /^i($|')/;

/**
 * The words as a reader wants them: fillers left out, marks of alternative pronunciations removed,
 * "I" and the first word capitalised. The recogniser knows no punctuation, and none is invented.
 */
export function presentableWords(recognised: RecognisedWord[]): RecognisedWord[] {
  return recognised
    .filter(({ entry }) => !FILLER.test(entry))
    .map((word, index) => ({ ...word, entry: spelled(word.entry, index === 0) }));
}

function spelled(entry: string, first: boolean): string {
  const word = entry.replace(ALTERNATE, '');
  return first || FIRST_PERSON.test(word) ? word.charAt(0).toUpperCase() + word.slice(1) : word;
}
