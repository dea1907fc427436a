import { expect, test } from 'vitest';
import { hasLetterOrDigit, isMostlyLatin, toSpeakableAscii } from './speakable-text.ts';

test.each([
  ['plain text stays', 'plain text stays'],
  ['naïve café, Straße, Łódź, Ærø', 'naive cafe, Strasse, Lodz, Aero'],
  ['“Don’t” — he said…', '"Don\'t" ,  he said...'],
  ['€5 and £1,299.99', '5  euros  and 1,299.99  pounds'],
  ['٣٤ and ７', '34 and 7'],
  ['1½ of ② is 10²', '1 1/2 of 2 is 10 2'],
  ['a\u0000b\u001bc', 'a b c'],
  ['\ud800 hello', 'hello'],
  ['😀', ''],
  ['...', ''],
  ['Привет', ''],
])('%j becomes %j', (text, ascii) => {
  expect(toSpeakableAscii(text)).toBe(ascii);
});

test.each([
  ['Hello', true],
  ['42', true],
  ['😀', true],
  ['', true],
  ['Straße, café', true],
  ['the angle α is small', true],
  ['Привет', false],
  ['Привет, John', false],
  ['Привет, как дела, a?', false],
  ['你好', false],
  ['我在用 OpenAI 和 Docker', false],
  ['The word 猫 means cat', true],
  ['नमस्ते', false],
  ['こんにちは world', false],
])('%j is mostly Latin: %j', (text, latin) => {
  expect(isMostlyLatin(text)).toBe(latin);
});

test('letters and digits of any script count as something to say', () => {
  expect(['é', '٣', '你', '½'].map(hasLetterOrDigit)).toEqual([true, true, true, true]);
  expect(['', '...', '😀', '\u0301'].map(hasLetterOrDigit)).toEqual([false, false, false, false]);
});
