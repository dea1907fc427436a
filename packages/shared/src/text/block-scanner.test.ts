import { describe, expect, it } from 'vitest';
import { BlockScanner } from './block-scanner.ts';

/** What goes on to the next stage, blocks separated by `|`, and what does not. */
function scan(text: string, isMuted: () => boolean = () => false) {
  let prose = '';
  let raw = '';
  const sink = {
    get muted() {
      return isMuted();
    },
    character: (character: string) => (prose += character),
    boundary: () => (prose += '|'),
    end: () => undefined,
  };
  const scanner = new BlockScanner(sink, (piece) => (raw += piece));
  for (const [offset, character] of Array.from(text).entries())
    scanner.character(character, offset);
  scanner.end();
  return { prose: prose.replaceAll(/\|+/g, '|'), raw };
}

it('passes inline marks on: they are the next stage’s', () => {
  expect(scan('A *b* [c](d) `e` $f$').prose).toBe('A *b* [c](d) `e` $f$');
});

describe('prose', () => {
  it.each([
    ['One\ntwo', 'One\ntwo'],
    ['One\n\ntwo', 'One|two'],
    ['# One\ntwo', '| One|two'],
    ['> One\n> two', 'One\ntwo'],
    ['- One\n- two', '|One|two'],
    ['1. One\n2. two', '|1. One|2. two'],
    ['One\n***\ntwo', 'One|two'],
  ])('of %j is %j', (text, prose) => {
    expect(scan(text)).toEqual({ prose, raw: '' });
  });
});

describe('what is not said', () => {
  it.each([
    ['a fence', 'One\n```js\ncode\n```\ntwo', 'One|two', '```js\ncode\n```\n'],
    ['a fence that is not closed', 'One\n~~~\ncode', 'One|', '~~~\ncode'],
    ['a fence in a line', 'One ```js\ncode\n```\ntwo', 'One |two', '```js\ncode\n```\n'],
    ['indented code', 'One\n\n    code\n\n    more\n\ntwo', 'One|two', '    code\n\n    more\n'],
    ['a table', 'One\n\n| a |\n|---|\n| 1 |\n\ntwo', 'One|two', '| a |\n|---|\n| 1 |\n'],
    ['a table at the end', '| a |\n|---|', '|', '| a |\n|---|'],
  ])('%s', (_name, text, prose, raw) => {
    expect(scan(text)).toEqual({ prose, raw });
  });

  it.each(['| a\nand more', '```code``` and text', 'a | b\n', '``` `a`'])(
    'is not what only looks so: %j',
    (text) => {
      expect(scan(text).raw).toBe('');
    },
  );
});

it('decides on nothing while the next stage is muted', () => {
  expect(scan('```\n# a\n', () => true)).toEqual({ prose: '```\n# a\n', raw: '' });
});
