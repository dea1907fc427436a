import { expect, it } from 'vitest';
import { Base64Fragments } from './base64-fragments.ts';

it.each([[1], [5], [6], [7], [100], [4799]])(
  'pieces of %i bytes give joinable fragments and lose nothing',
  (size) => {
    const bytes = Buffer.from(Array.from({ length: 10_001 }, (_, index) => index % 251));
    const fragments = new Base64Fragments();
    const texts: string[] = [];
    for (let start = 0; start < bytes.length; start += size) {
      const text = fragments.push(bytes.subarray(start, start + size));
      if (text !== undefined) texts.push(text);
    }
    expect(texts.every((text) => Buffer.from(text, 'base64').length % 6 === 0)).toBe(true);
    const rest = fragments.end();
    expect(Buffer.from(texts.join('') + (rest ?? ''), 'base64').equals(bytes)).toBe(true);
  },
);

it('without bytes gives nothing', () => {
  const fragments = new Base64Fragments();
  expect([fragments.push(new Uint8Array()), fragments.end()]).toEqual([undefined, undefined]);
});
