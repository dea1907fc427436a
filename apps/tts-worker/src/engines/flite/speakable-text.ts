/**
 * flite knows English in ASCII: a letter outside it is silence with a good exit code. So text is
 * brought to ASCII first, and what cannot be is told by `isMostlyLatin`.
 */

/** Latin letters that Unicode does not take apart into a base letter and a mark. */
const LATIN_LETTERS: Record<string, string> = {
  ß: 'ss',
  ẞ: 'SS',
  æ: 'ae',
  Æ: 'Ae',
  œ: 'oe',
  Œ: 'Oe',
  ø: 'o',
  Ø: 'O',
  đ: 'd',
  Đ: 'D',
  ð: 'd',
  Ð: 'D',
  þ: 'th',
  Þ: 'Th',
  ł: 'l',
  Ł: 'L',
  ħ: 'h',
  Ħ: 'H',
  ı: 'i',
  ŋ: 'ng',
  Ŋ: 'Ng',
};

/** Signs with a word or an ASCII twin. */
const SIGNS: Record<string, string> = {
  '‘': "'",
  '’': "'",
  '‚': "'",
  '“': '"',
  '”': '"',
  '„': '"',
  '«': '"',
  '»': '"',
  '‐': '-',
  '‑': '-',
  '–': '-',
  '—': ', ',
  '−': ' minus ',
  '×': ' times ',
  '÷': ' divided by ',
  '±': ' plus or minus ',
  '°': ' degrees ',
  '⁄': '/',
  '€': ' euros ',
  '£': ' pounds ',
  '¥': ' yen ',
  '。': '. ',
  '、': ', ',
  '؟': '? ',
  '،': ', ',
  '।': '. ',
};

/** 1½ must not become 11/2, nor 10² 102. */
const DIGIT_BEFORE_NUMERAL = /(\d)(?=\p{No})/gu;
const AMOUNT = /([€£¥])\s?(\d[\d.,]*\d|\d)/gu;
const OTHER_DIGIT = /(?![0-9])\p{Nd}/gu;
const OUTSIDE_ASCII = /[^\n\x20-\x7e]/gu;

/** The text in printable ASCII, or '' when nothing of it is left to say. */
export function toSpeakableAscii(text: string): string {
  const ascii = text
    .toWellFormed()
    .replaceAll(AMOUNT, '$2 $1')
    .replaceAll(DIGIT_BEFORE_NUMERAL, '$1 ')
    .normalize('NFKD')
    .replaceAll(/\p{M}/gu, '')
    .replaceAll(OTHER_DIGIT, asciiDigit)
    .replaceAll(OUTSIDE_ASCII, (character) => LATIN_LETTERS[character] ?? SIGNS[character] ?? ' ')
    .trim();
  return /[a-z0-9]/i.test(ascii) ? ascii : '';
}

/** Decimal digits of any script lie in Unicode in rows of ten, zero first. */
function asciiDigit(digit: string): string {
  const codePoint = digit.codePointAt(0) ?? 0;
  let value = 0;
  while (/\p{Nd}/u.test(String.fromCodePoint(codePoint - value - 1))) value += 1;
  return String(value % 10);
}

/** A word: a run of letters of one kind. Han and kana have no blanks: each character counts. */
const LATIN_WORD = /\p{Script=Latin}[\p{Script=Latin}\p{M}'’]*/gu;
const OTHER_WORD =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}]|(?:(?![\p{Script=Latin}\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}])\p{L}\p{M}*)+/gu;

/**
 * Whether more words are in Latin letters than not (or there are no letters at all). Said without
 * its other half "Привет, John" is nonsense, "the angle α is small" is not; so words are counted,
 * not letters, and a tie is a no.
 */
export function isMostlyLatin(text: string): boolean {
  const otherCount = text.match(OTHER_WORD)?.length ?? 0;
  return otherCount === 0 || (text.match(LATIN_WORD)?.length ?? 0) > otherCount;
}

/** Whether there is anything to say: a text of signs and emoji may rightly be silent. */
export function hasLetterOrDigit(text: string): boolean {
  return /[\p{L}\p{N}]/u.test(text);
}
