import { beforeEach, describe, expect, it } from 'vitest';
import { RawBlock } from './raw-block.ts';
import type { Unit } from './text-sink.ts';

const unitsOf = (text: string): Unit[] =>
  Array.from(text, (character, offset) => ({ character, offset }));

let shown: string;
let block: RawBlock;
beforeEach(() => {
  shown = '';
  block = new RawBlock((raw) => (shown += raw));
});

/** How many characters are taken until the block says that it was the last one. */
function take(text: string): number {
  const end = Array.from(text).findIndex((character) => block.add(character));
  return end < 0 ? Infinity : end + 1;
}

describe('a fence', () => {
  it('goes on to the line that closes it', () => {
    block.openFence(unitsOf('```js\n'), '`', 3);
    const code = 'const a = `${b}`;\n~~~\n``\n```\n';
    expect(take(`${code}Prose.`)).toBe(code.length);
    expect(shown).toBe(`\`\`\`js\n${code}`);
  });

  it('is not closed by what is left of a long opening line', () => {
    block.openFence(unitsOf('```'), '`', 3);
    expect(take('```\ncode\n```\n')).toBe(13);
  });

  it('is followed by single lines again', () => {
    block.openFence(unitsOf('~~~\n'), '~', 3);
    expect(take('~~~\n')).toBe(4);
    expect(take('| a row |\n')).toBe(10);
  });
});

describe('indented code', () => {
  it('has the blank lines between its lines, and not those behind it', () => {
    block.beginCode();
    take('    one\n');
    expect(block.isCode).toBe(true);
    block.addBlankLine('\n');
    block.addBlankLine('  \n');
    expect(block.isCode).toBe(true);
    block.beginCode();
    take('    two\n');
    block.addBlankLine('\n');
    block.leave();
    expect(block.isCode).toBe(false);
    expect(shown).toBe('    one\n\n  \n    two\n');
  });

  it('does not begin with a blank line', () => {
    block.addBlankLine('\n');
    expect(block.isCode).toBe(false);
    block.beginCode();
    expect(shown).toBe('');
  });
});

describe('a table', () => {
  const begin = () => {
    block.show(unitsOf('| a |\n| - |\n'));
    block.beginTable();
  };

  it('has rows, a line each', () => {
    begin();
    expect(take('| 1 |\n')).toBe(6);
    expect(block.isTable).toBe(true);
    expect(shown).toBe('| a |\n| - |\n| 1 |\n');
  });

  it.each([
    ['a blank line', () => block.addBlankLine('\n')],
    ['code', () => block.beginCode()],
    ['anything else', () => block.leave()],
  ])('is ended by %s', (_name, follow) => {
    begin();
    follow();
    expect(block.isTable).toBe(false);
  });
});

it('is shown to its last character, also without a line end', () => {
  block.show(unitsOf('half a li'));
  block.end();
  expect(shown).toBe('half a li');
});
