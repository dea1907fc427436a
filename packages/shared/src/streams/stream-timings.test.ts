import { expect, it } from 'vitest';
import { parseTimings } from './stream-timings.ts';

it('keeps what it knows, in any number', () => {
  expect(parseTimings('{"queueMs":1.5,"gapCount":0}')).toEqual({ queueMs: 1.5, gapCount: 0 });
  expect(parseTimings('{"firstAudioMs":9,"ofANewerVersion":1}')).toEqual({ firstAudioMs: 9 });
});

it.each([undefined, '', 'null', '[]', '{"queueMs":"soon"}', '{"queueMs":1'])(
  'is empty for %s',
  (field) => {
    expect(parseTimings(field)).toEqual({});
  },
);
