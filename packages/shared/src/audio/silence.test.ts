import { expect, it } from 'vitest';
import { samplesToBytes } from './pcm.ts';
import { isSilence } from './silence.ts';

it.each([
  { samples: [], silent: true },
  { samples: [0, 0, 0], silent: true },
  { samples: [64, -64, 0], silent: true },
  { samples: [0, 65, 0], silent: false },
  { samples: [0, 0, -65], silent: false },
])('hears $samples: silent $silent', ({ samples, silent }) => {
  expect(isSilence(samplesToBytes(Int16Array.from(samples)))).toBe(silent);
});

it('looks at its own part of the memory only, and at whole samples', () => {
  const bytes = samplesToBytes(Int16Array.from([9000, 0, 0, 9000]));
  expect(isSilence(bytes.subarray(2, 6))).toBe(true);
  expect(isSilence(bytes.subarray(2, 7))).toBe(true);
});
