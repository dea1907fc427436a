import { expect, it } from 'vitest';
import { EventIds } from './event-ids.ts';

const ANSWER = 'data: a\n\ndata: bb\n\ndata: [DONE]\n\n';

function mark(after: number, cuts: number[]): string {
  const ids = new EventIds(after);
  const places = [0, ...cuts, ANSWER.length];
  return places
    .slice(1)
    .map((end, index) => ids.mark(Buffer.from(ANSWER.slice(places[index], end))))
    .map((bytes) => Buffer.from(bytes).toString())
    .join('');
}

it('numbers events from 1', () => {
  expect(mark(0, [])).toBe('id: 1\ndata: a\n\nid: 2\ndata: bb\n\nid: 3\ndata: [DONE]\n\n');
});

it.each([
  [1, 'id: 2\ndata: bb\n\nid: 3\ndata: [DONE]\n\n'],
  [2, 'id: 3\ndata: [DONE]\n\n'],
  [3, ''],
  [99, ''],
])('leaves out those up to %i', (after, rest) => {
  expect(mark(after, [])).toBe(rest);
});

it('says the same wherever the answer is cut', () => {
  for (const after of [0, 1, 2, 3]) {
    const whole = mark(after, []);
    for (let one = 0; one <= ANSWER.length; one += 1) {
      for (let two = one; two <= ANSWER.length; two += 1) {
        expect(mark(after, [one, two])).toBe(whole);
      }
    }
  }
});
