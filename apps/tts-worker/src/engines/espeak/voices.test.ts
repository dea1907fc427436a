import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { announcedVoices, parseVoices, voiceArgument } from './voices.ts';

const voices = parseVoices(execFileSync('espeak-ng', ['--voices']).toString());

test('reads names, languages and what else a voice serves', () => {
  const listing = [
    'Pty Language       Age/Gender VoiceName          File                 Other Languages',
    ' 5  af              --/M      Afrikaans          gmw/af               ',
    ' 5  chr-US-Qaaa-x-west --/M      Cherokee_          iro/chr              ',
    ' 5  cmn-latn-pinyin --/M      Chinese_(Mandarin,_latin_as_Pinyin) sit/cmn-Latn-pinyin  (zh-cmn 5)(zh 5)',
    ' 5  yue             --/M      Chinese_(Cantonese) sit/yue              (zh-yue 5)(zh 8)',
    ' 5  yue             --/M      Chinese_(Cantonese,_latin_as_Jyutping) sit/yue-Latn-jyutping (zh 8)',
    '',
  ].join('\n');
  expect(parseVoices(listing)).toEqual([
    { id: 'af', name: 'Afrikaans', alsoFor: [] },
    {
      id: 'cmn-latn-pinyin',
      name: 'Chinese (Mandarin, latin as Pinyin)',
      alsoFor: [
        { tag: 'zh-cmn', rank: 5 },
        { tag: 'zh', rank: 5 },
      ],
    },
    {
      id: 'yue',
      name: 'Chinese (Cantonese)',
      alsoFor: [
        { tag: 'zh-yue', rank: 5 },
        { tag: 'zh', rank: 8 },
      ],
    },
  ]);
});

test('finds over a hundred voices in what is installed', () => {
  expect(voices.length).toBeGreaterThan(100);
  expect(announcedVoices(voices)[0]).toMatchObject({ id: 'alloy' });
});

test.each([
  ['Hello', 'alloy', undefined, 'en-us+f1'],
  ['Hello', 'slt', undefined, 'en-us+f1'],
  ['Hello', 'somebody', undefined, 'en-us'],
  ['42', 'onyx', undefined, 'en-us+m7'],
  ['42', 'onyx', 'de', 'de+m7'],
  ['Guten Tag', 'alloy', 'de-AT', 'de+f1'],
  ['Bom dia', 'alloy', 'pt-BR', 'pt-br+f1'],
  ['Bonjour', 'alloy', 'fr', 'fr-fr+f1'],
  ['God dag', 'alloy', 'no', 'nb+f1'],
  ['Hello', 'alloy', 'en', 'en-us+f1'],
  ['Hello', 'alloy', 'en-GB', 'en-gb+f1'],
  ['Hello', 'alloy', 'xx', 'en-us+f1'],
  ['Hello', 'alloy', 'not a tag', 'en-us+f1'],
  ['Привет', 'alloy', undefined, 'ru+f1'],
  ['Привет', 'alloy', 'en', 'ru+f1'],
  ['Здравей', 'alloy', 'bg', 'bg+f1'],
  ['Привіт, як її справи', 'alloy', undefined, 'uk+f1'],
  ['Γειά', 'alloy', undefined, 'el+f1'],
  ['你好', 'alloy', undefined, 'cmn-latn-pinyin+f1'],
  ['你好', 'cmn', undefined, 'cmn-latn-pinyin'],
  ['你好', 'alloy', 'zh', 'cmn-latn-pinyin+f1'],
  ['你好', 'alloy', 'yue', 'yue+f1'],
  ['こんにちは', 'alloy', undefined, 'ja+f1'],
  ['カタカナ', 'alloy', 'en', 'ja+f1'],
  ['안녕하세요', 'alloy', undefined, 'ko+f1'],
  ['مرحبا', 'alloy', undefined, 'ar+f1'],
  ['سلام پدر', 'alloy', undefined, 'fa+f1'],
  ['नमस्ते', 'alloy', undefined, 'hi+f1'],
  ['नमस्ते', 'alloy', 'mr', 'mr+f1'],
  ['שלום', 'alloy', undefined, 'he+f1'],
  ['สวัสดี', 'alloy', undefined, 'th+f1'],
  ['Привет', 'de', undefined, 'de'],
])('%j by %s in %s is spoken by %s', (text, voice, language, argument) => {
  const request = { text, voice, model: 'espeak', speed: 1 };
  expect(voiceArgument(language === undefined ? request : { ...request, language }, voices)).toBe(
    argument,
  );
});
