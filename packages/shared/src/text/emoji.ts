const PICTURE = /[\p{Extended_Pictographic}\p{Emoji_Presentation}]/u;
/** The first pictographic character that is not © or ®; what stands before is never looked up. */
const FIRST_PICTURE = 0x203c;
const TRADE_MARK = '™';
const JOINER = '\u200d';
const VARIATION = /^[\ufe0e\ufe0f\u20e3]$/;

/**
 * Whether a character is a picture that nobody reads aloud: emoji, flags, skin tones. Digits, `#`,
 * `*`, ©, ® and ™ can be drawn as pictures too, but are words.
 */
export function isEmoji(character: string): boolean {
  const code = character.codePointAt(0) ?? 0;
  return code >= FIRST_PICTURE && character !== TRADE_MARK && PICTURE.test(character);
}

/** What only changes the picture before it: variation selectors, the keycap, flag tags. */
export function isEmojiModifier(character: string): boolean {
  const code = character.codePointAt(0) ?? 0;
  return VARIATION.test(character) || (code >= 0xe_0020 && code <= 0xe_007f);
}

/** Joins pictures; between letters (Hindi, Persian, Sinhala) it is spelling. */
export function isJoiner(character: string): boolean {
  return character === JOINER;
}
