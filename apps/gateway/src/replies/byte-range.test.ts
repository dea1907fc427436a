import { expect, it } from 'vitest';
import { chooseRange } from './byte-range.ts';

it.each([
  ['bytes=0-9', { start: 0, end: 9 }],
  ['bytes=90-', { start: 90, end: 99 }],
  ['bytes=90-1000', { start: 90, end: 99 }],
  ['bytes=-10', { start: 90, end: 99 }],
  ['bytes=-1000', { start: 0, end: 99 }],
  ['Bytes=5-5', { start: 5, end: 5 }],
  [undefined, 'whole'],
  ['', 'whole'],
  ['bytes=-', 'whole'],
  ['bytes=9-5', 'whole'],
  ['bytes=0-1,5-6', 'whole'],
  ['items=0-1', 'whole'],
  ['bytes=1e3-', 'whole'],
  ['bytes=100-', 'none'],
  ['bytes=-0', 'none'],
] as const)('%s of 100 bytes', (header, range) => {
  expect(chooseRange(header, 100)).toEqual(range);
});

it('has nothing of an empty body', () => {
  expect(chooseRange('bytes=0-', 0)).toBe('none');
});
