/** A script, the voice that reads it, and letters that tell another of its languages. */
interface ScriptVoice {
  script: string;
  letters: RegExp;
  voice: string;
  /** First match wins: the letter occurs in that language and not in the default one. */
  hints?: [RegExp, string][];
}

/**
 * Han goes to the pinyin voice: `cmn` of espeak-ng 1.51 reads its own pinyin as English ("n i
 * three"). Scripts that are not here espeak-ng spells out as "letter one seven nine …".
 */
const SCRIPT_VOICES: ScriptVoice[] = [
  { script: 'Latn', letters: /\p{Script=Latin}/u, voice: 'en-us' },
  {
    script: 'Cyrl',
    letters: /\p{Script=Cyrillic}/u,
    voice: 'ru',
    hints: [
      [/[їєґ]/iu, 'uk'],
      [/ў/iu, 'be'],
      [/[ђћљњџј]/iu, 'sr'],
    ],
  },
  { script: 'Grek', letters: /\p{Script=Greek}/u, voice: 'el' },
  { script: 'Jpan', letters: /[\p{Script=Hiragana}\p{Script=Katakana}]/u, voice: 'ja' },
  { script: 'Hans', letters: /\p{Script=Han}/u, voice: 'cmn-latn-pinyin' },
  { script: 'Kore', letters: /\p{Script=Hangul}/u, voice: 'ko' },
  {
    script: 'Arab',
    letters: /\p{Script=Arabic}/u,
    voice: 'ar',
    hints: [
      [/[ٹڈڑںے]/u, 'ur'],
      [/[پچژگ]/u, 'fa'],
    ],
  },
  { script: 'Hebr', letters: /\p{Script=Hebrew}/u, voice: 'he' },
  { script: 'Deva', letters: /\p{Script=Devanagari}/u, voice: 'hi' },
  { script: 'Thai', letters: /\p{Script=Thai}/u, voice: 'th' },
  { script: 'Armn', letters: /\p{Script=Armenian}/u, voice: 'hy' },
  { script: 'Geor', letters: /\p{Script=Georgian}/u, voice: 'ka' },
  { script: 'Beng', letters: /\p{Script=Bengali}/u, voice: 'bn' },
  { script: 'Guru', letters: /\p{Script=Gurmukhi}/u, voice: 'pa' },
  { script: 'Gujr', letters: /\p{Script=Gujarati}/u, voice: 'gu' },
  { script: 'Orya', letters: /\p{Script=Oriya}/u, voice: 'or' },
  { script: 'Taml', letters: /\p{Script=Tamil}/u, voice: 'ta' },
  { script: 'Telu', letters: /\p{Script=Telugu}/u, voice: 'te' },
  { script: 'Knda', letters: /\p{Script=Kannada}/u, voice: 'kn' },
  { script: 'Mlym', letters: /\p{Script=Malayalam}/u, voice: 'ml' },
  { script: 'Sinh', letters: /\p{Script=Sinhala}/u, voice: 'si' },
  { script: 'Mymr', letters: /\p{Script=Myanmar}/u, voice: 'my' },
  { script: 'Ethi', letters: /\p{Script=Ethiopic}/u, voice: 'am' },
];

const HAN = /\p{Script=Han}/u;

export interface TextScript {
  /** ISO 15924. `Jpan` when there is any kana; '' when most letters are of none that is known. */
  script: string;
  /** The espeak-ng voice that reads it; '' when none does. */
  voice: string;
}

const UNKNOWN: TextScript = { script: '', voice: '' };

/** The script that most letters of the text are in; without letters it is Latin. */
export function scriptOf(text: string): TextScript {
  const letters = text.match(/\p{L}/gu) ?? [];
  if (letters.length === 0) return { script: 'Latn', voice: 'en-us' };
  const counted = SCRIPT_VOICES.map((scriptVoice) => ({
    scriptVoice,
    count: letters.filter((letter) => scriptVoice.letters.test(letter)).length,
  })).filter(({ count }) => count > 0);
  const kana = counted.find(({ scriptVoice }) => scriptVoice.script === 'Jpan');
  const best = kana ?? counted.toSorted((one, other) => other.count - one.count)[0];
  const knownCount = counted.reduce((sum, { count }) => sum + count, 0);
  const unknownCount = letters.length - knownCount;
  if (best === undefined || unknownCount > best.count) return UNKNOWN;
  const { script, voice, hints } = best.scriptVoice;
  const hinted = hints?.find(([letter]) => letter.test(text))?.[1];
  return { script, voice: hinted ?? voice };
}

/** Whether a language is usually written in this script; Han serves Chinese and Japanese. */
export function isWrittenIn(language: string, script: string): boolean {
  try {
    const own = new Intl.Locale(language).maximize().script ?? '';
    return own === script || (script === 'Hans' && ['Hant', 'Jpan', 'Kore'].includes(own));
  } catch {
    return false;
  }
}

/** espeak-ng 1.51 calls each kanji "Chinese letter" in a Japanese text. */
export function hasKanjiInJapanese(text: string, script: string): boolean {
  return script === 'Jpan' && HAN.test(text);
}

export function hasHan(text: string): boolean {
  return HAN.test(text);
}
