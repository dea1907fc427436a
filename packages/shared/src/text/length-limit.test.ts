import { describe, expect, it } from 'vitest';
import { LengthLimit } from './length-limit.ts';
import { isBlank } from './marks.ts';
import { PhraseBuffer } from './phrase-buffer.ts';
import type { Mark } from './sentence-end.ts';

/** A text with its blanks, in a buffer that takes `most` characters. */
function limitOf(text: string, most = Infinity): LengthLimit {
  const buffer = new PhraseBuffer(most);
  for (const [offset, character] of Array.from(text).entries()) buffer.add(character, offset);
  for (let index = 0; index < buffer.length; index += 1) buffer.measure(index);
  const limit = new LengthLimit(buffer);
  for (let index = 0; index < buffer.length; index += 1)
    if (isBlank(buffer.at(index))) limit.addBlank(index);
  return limit;
}

const markAt = (end: number): Mark => ({
  ...{ kind: 'sentence', start: end - 1, marksEnd: end, end },
  ...{ wide: false, blank: false, quote: false },
});

describe('a phrase that is too long', () => {
  const text = 'one two three four';

  it('is cut at the last blank', () => {
    const limit = limitOf(text, 15);
    expect(limit.look(14, undefined, false)).toBeUndefined();
    expect(limit.look(15, undefined, false)).toEqual({ end: 13, pause: 'none' });
  });

  it('is cut at a mark rather, unless that leaves too little', () => {
    const late = limitOf(text, 15);
    late.addMark({ end: 7, pause: 'clause' });
    expect(late.forcedCut()).toEqual({ end: 7, pause: 'clause' });
    const early = limitOf(text, 15);
    early.addMark({ end: 3, pause: 'clause' });
    expect(early.forcedCut()).toEqual({ end: 13, pause: 'none' });
  });

  it('is cut at no mark that is too far', () => {
    const limit = limitOf(text, 15);
    limit.addMark({ end: 18, pause: 'sentence' });
    expect(limit.forcedCut()).toEqual({ end: 13, pause: 'none' });
  });

  it('is cut anywhere when it has neither', () => {
    expect(limitOf('x'.repeat(30), 15).forcedCut()).toEqual({ end: 15, pause: 'none' });
  });

  it('waits for a mark that is nearly decided, for three characters', () => {
    const limit = limitOf(text, 15);
    expect(limit.look(15, markAt(14), false)).toBeUndefined();
    expect(limit.look(17, markAt(14), false)).toEqual({ end: 13, pause: 'none' });
  });
});

describe('a first phrase without a mark', () => {
  const text = 'seven letters '.repeat(9);
  /** The first character behind the weight of 90 that begins a word. */
  const begin = 98;

  it('is cut where a word begins, within its first part', () => {
    expect(limitOf(text).look(begin, undefined, true)).toEqual({ end: 61, pause: 'none' });
  });

  it('is not cut in a word, before a mark, or where nobody waits for it', () => {
    expect(limitOf(text).look(begin + 1, undefined, true)).toBeUndefined();
    expect(limitOf(text).look(begin, markAt(begin - 1), true)).toBeUndefined();
    expect(limitOf(text).look(begin, undefined, false)).toBeUndefined();
  });

  it('is looked at once', () => {
    const limit = limitOf(`${'x'.repeat(70)} ${'y'.repeat(27)} ${'z'.repeat(20)}`);
    expect(limit.look(99, undefined, true)).toBeUndefined();
    limit.addBlank(10);
    limit.addBlank(20);
    expect(limit.look(99, undefined, true)).toBeUndefined();
    limit.restart();
    limit.addBlank(10);
    limit.addBlank(20);
    expect(limit.look(99, undefined, true)).toEqual({ end: 20, pause: 'none' });
  });
});
