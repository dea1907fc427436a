import { describe, expect, it } from 'vitest';
import { HeldConstruct } from './held-construct.ts';
import { Formula, type Hold, LinkTarget, Tag } from './inline-holds.ts';
import type { Unit } from './text-sink.ts';

/** Holds a text from its first character on, at the offsets 10, 11 …; with the last verdict. */
function hold(construct: Hold, text: string) {
  const [first, ...rest] = Array.from(text, (character, index): Unit => ({
    character,
    offset: 10 + index,
  }));
  const held = new HeldConstruct(construct, first ? [first] : []);
  let verdict = 'hold';
  for (const unit of rest) {
    verdict = held.add(unit);
    if (verdict !== 'hold') break;
  }
  return { held, verdict, text: held.units.map(({ character }) => character).join('') };
}

describe('what is dropped', () => {
  it.each([
    ['(http://a.b)', new LinkTarget()],
    ['<b>', new Tag()],
    ['$$x$$', new Formula('$')],
  ])('is %s, with its last character', (text, construct) => {
    expect(hold(construct, text)).toMatchObject({ verdict: 'drop', text });
  });

  it('is a formula before the character that tells so', () => {
    const dropped = { verdict: 'drop-before', text: '$x$' };
    expect(hold(new Formula('$'), '$x$ ')).toMatchObject(dropped);
  });
});

describe('what is let go as text', () => {
  it('may begin again behind its last character', () => {
    const { held, verdict } = hold(new Formula('$'), '$5');
    expect([verdict, held.retryOffset]).toEqual(['release', 12]);
  });

  it('may begin again with what ended it, where that is the next tag', () => {
    const { held, verdict } = hold(new Tag(), '<a <');
    expect([verdict, held.retryOffset]).toEqual(['release', 13]);
  });

  it('is so when nothing follows', () => {
    expect(hold(new Tag(), '<b').held.stop()).toBe('release');
    expect(hold(new LinkTarget(), '(http://a.b').held.stop()).toBe('drop');
  });
});

it('knows what a tag means, and that others are none', () => {
  expect(hold(new Tag(), '<think>').held.tagMeaning()).toBe('think');
  expect(hold(new Tag(), '<a@b.c>').held.tagMeaning()).toBe('address');
  expect(hold(new Formula('$'), '$x$').held.tagMeaning()).toBeUndefined();
});
