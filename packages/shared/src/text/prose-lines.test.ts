import { beforeEach, expect, it } from 'vitest';
import { ProseLines } from './prose-lines.ts';
import type { Unit } from './text-sink.ts';

const unitsOf = (text: string, offset = 0): Unit[] =>
  Array.from(text, (character, index) => ({ character, offset: offset + index }));

let said: string;
let prose: ProseLines;
beforeEach(() => {
  said = '';
  prose = new ProseLines({
    muted: false,
    character: (character, offset) => (said += `${character}${offset} `),
    boundary: () => (said += '| '),
    end: () => (said += 'end'),
  });
});

const LINE_END: Unit = { character: '\n', offset: 7 };

it('joins two lines by the line end between them, in its place', () => {
  prose.passAll(unitsOf('ab'));
  prose.endLine(LINE_END);
  expect(said).toBe('a0 b1 ');
  prose.join();
  prose.passAll(unitsOf('c', 8));
  expect(said).toBe('a0 b1 \n7 c8 ');
});

it('joins nothing over the end of a block', () => {
  prose.endLine(LINE_END);
  prose.break();
  prose.join();
  expect(said).toBe('| ');
});

it('says a number when text follows, once', () => {
  prose.number = unitsOf('1.');
  expect(prose.hasNumber).toBe(true);
  prose.join();
  prose.join();
  expect(said).toBe('10 .1 ');
  expect(prose.hasNumber).toBe(false);
});

it('forgets what waits when something else follows', () => {
  prose.number = unitsOf('1.');
  prose.endLine(LINE_END);
  prose.forget();
  prose.join();
  prose.end();
  expect(said).toBe('end');
});
