/** What is longer is prose that begins like a heading. */
const MOST_CHARACTERS = 120;
const MOST_LINES = 3;

const NAMES = [
  ...['chapter', 'part', 'book', 'volume', 'canto', 'act', 'letter', 'stave'],
  ...['kapitel', 'teil', 'buch', 'chapitre', 'partie', 'capítulo', 'capitulo', 'capitolo', 'parte'],
  ...['hoofdstuk', 'kapittel', 'rozdział', 'глава', 'часть'],
];
// Prose says "chapter 4" in small letters.
const WORDS = NAMES.flatMap((name) => [
  name.charAt(0).toUpperCase() + name.slice(1),
  name.toUpperCase(),
]).join('|');
/** These stand alone, in books that have other headings too. */
const ALONE = [
  ...['prologue', 'epilogue', 'preface', 'foreword', 'afterword', 'introduction', 'conclusion'],
  ...['prolog', 'epilog', 'vorwort', 'nachwort', 'einleitung', 'préface', 'épilogue', 'prólogo'],
].join('|');
const ROMAN = '(?=[IVXLC])(?:XC|XL|L?X{0,3}|C{0,3}L?X{0,3})(?:IX|IV|V?I{0,3})';
const TENS = 'twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety';
const ONES = 'one|two|three|four|five|six|seven|eight|nine|first|second|third|last';
const TEENS =
  'ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen|hundred';
const SPELLED = `(?:the )?(?:(?:${TENS})(?:[- ](?:${ONES}))?|${ONES}|${TEENS})`;

// The title follows a mark, or begins as a title does.
const TITLE = String.raw`(?:\s*[.:—–-]+(?:\s+.*)?|\s+[\p{Lu}\p{N}"“«‘'_*].*)?`;
const NUMBERED = new RegExp(
  String.raw`^(?:${WORDS})\s+(?:\d{1,4}|${ROMAN})(?![\p{L}\p{N}])${TITLE}$`,
  'u',
);
const NAMED = new RegExp(
  String.raw`^(?:(?:${WORDS})\s+${SPELLED}|\p{L}+te[rs]\s+(?:kapitel|teil|buch))(?:\s*[.:—–-]+(?:\s+.*)?)?$`,
  'iu',
);
const STANDING_ALONE = new RegExp(String.raw`^(?:${ALONE})[.:]?$`, 'iu');
const BARE_NUMBER = new RegExp(String.raw`^(?:\d{1,3}|${ROMAN})[.)]?$`, 'u');
/** "IV. THE BEACH": in capitals, since lists are numbered too. */
const NUMBER_AND_CAPITALS = new RegExp(String.raw`^(?:\d{1,3}|${ROMAN})[.:]\s+[^\p{Ll}]+$`, 'u');

/**
 * The kind of heading that a block of lines between blank ones is: "Chapter 3" or "III"; undefined
 * for prose.
 */
export function headingKind(lines: readonly string[]): 'word' | 'number' | undefined {
  if (lines.length > MOST_LINES) return undefined;
  if (lines.reduce((sum, line) => sum + line.length, 0) > MOST_CHARACTERS) return undefined;
  const first = lines[0]?.trim() ?? '';
  if (NUMBERED.test(first) || NAMED.test(first)) return 'word';
  if (lines.length > 1) return undefined;
  if (BARE_NUMBER.test(first) || NUMBER_AND_CAPITALS.test(first)) return 'number';
  return undefined;
}

/** A preface or the like, which is a chapter where others are. */
export function standsAlone(lines: readonly string[]): boolean {
  return lines.length === 1 && STANDING_ALONE.test(lines[0]?.trim() ?? '');
}
