import { expect, it } from 'vitest';
import { IdNames, titleName } from './file-name.ts';

it.each([
  ['CHAPTER I. Down the Rabbit-Hole', 'chapter-i-down-the-rabbit-hole'],
  ['Alice’s "Größe"', 'alices-größe'],
  ['第一章', '第一章'],
  ['../../etc/passwd', 'etc-passwd'],
  ['* * *', ''],
  ['🎉'.repeat(50), ''],
  [`${'a'.repeat(59)}𝔘x`, 'a'.repeat(59)],
])('%j is named %j', (title, name) => {
  expect(titleName(title)).toBe(name);
});

it('ids stay in their folder, and apart', () => {
  const names = new IdNames();
  const ids = ['a', 'a', 'A', '../../a', '..', '', 'a/b', '.hidden', 'x'.repeat(300)];
  const made = ids.map((id) => names.nameOf(id, 'mp3'));
  expect(made).toStrictEqual([
    ...['a.mp3', 'a-2.mp3', 'A-3.mp3', '_.._a.mp3', 'line.mp3', 'line-2.mp3', 'a_b.mp3'],
    ...['hidden.mp3', `${'x'.repeat(60)}.mp3`],
  ]);
});
