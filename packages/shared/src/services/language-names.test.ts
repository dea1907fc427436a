import { expect, test } from 'vitest';
import { languageCode, languageName } from './language-names.ts';

test.each([
  ['english', 'en'],
  ['English', 'en'],
  [' German ', 'de'],
  ['haitian creole', 'ht'],
  ['mandarin', 'zh'],
  ['castilian', 'es'],
  ['de', 'de'],
  ['de-AT', 'de'],
  ['pt_BR', 'pt'],
  ['yue', 'yue'],
  ['jw', 'jv'],
])('%s is %s', (name, code) => {
  expect(languageCode(name)).toBe(code);
});

test('what is no language has no code', () => {
  for (const name of ['', 'klingon', '12', 'x', 'unknown language']) {
    expect(languageCode(name)).toBeUndefined();
  }
});

test('a code has the name that verbose_json gives it', () => {
  expect(['en', 'DE', 'ht', 'my'].map(languageName)).toEqual([
    'english',
    'german',
    'haitian creole',
    'myanmar',
  ]);
  expect(languageName('xx')).toBe('xx');
});
