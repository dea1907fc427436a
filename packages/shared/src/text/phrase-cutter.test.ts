import { describe, expect, it } from 'vitest';
import { type CutPhrase, PhraseCutter, type CutterOptions } from './phrase-cutter.ts';

/** The phrases of some blocks of plain text. */
function cut(blocks: string[], options: Partial<CutterOptions> = {}): CutPhrase[] {
  const phrases: CutPhrase[] = [];
  const defaults = { language: 'en', maxCharacters: undefined, insertStops: true, isAwaited: true };
  const cutter = new PhraseCutter({ ...defaults, ...options }, (phrase) => phrases.push(phrase));
  let offset = 0;
  for (const [index, block] of blocks.entries()) {
    if (index > 0) cutter.boundary();
    for (const character of block) cutter.character(character, offset++);
  }
  cutter.end();
  return phrases;
}

const textsOf = (phrases: CutPhrase[]): string[] => phrases.map(({ text }) => text);

it('tells of each phrase where it stood, and what is around it', () => {
  expect(cut(['Hello there. It goes on', 'and ends.'])).toEqual([
    { text: 'Hello there.', rawStart: 0, rawEnd: 12, pause: 'sentence', before: '' },
    { text: 'It goes on', rawStart: 13, rawEnd: 23, pause: 'paragraph', before: ' ' },
    { text: 'and ends.', rawStart: 23, rawEnd: 32, pause: 'sentence', before: '\n\n' },
  ]);
});

describe('a clause', () => {
  const text = 'When the rain is over, we go out, all of us, and walk.';

  it('is a phrase early, where somebody waits', () => {
    expect(textsOf(cut([text]))).toEqual([
      'When the rain is over,',
      'we go out, all of us, and walk.',
    ]);
  });

  it('is none where nobody waits', () => {
    expect(textsOf(cut([text], { isAwaited: false }))).toEqual([text]);
  });
});

it('joins a short sentence with the next one, but for the first', () => {
  expect(textsOf(cut(['Yes. No. Maybe that is so, who knows? Good.']))).toEqual([
    'Yes.',
    'No. Maybe that is so, who knows?',
    'Good.',
  ]);
});

it('ends lines by full stops where it may', () => {
  const text = 'First thing\nSecond thing';
  expect(textsOf(cut([text], { isAwaited: false }))).toEqual(['First thing. Second thing']);
  expect(textsOf(cut([text], { isAwaited: false, insertStops: false }))).toEqual([
    'First thing Second thing',
  ]);
});

it('gives nothing longer than the engine takes', () => {
  const phrases = textsOf(cut(['word '.repeat(40)], { maxCharacters: 50 }));
  expect(phrases.join(' ')).toBe('word '.repeat(40).trim());
  for (const phrase of phrases) expect(phrase.length).toBeLessThanOrEqual(50);
});

it('decides a mark by a character that is announced, before it comes', () => {
  const phrases: CutPhrase[] = [];
  const options = { language: 'en', maxCharacters: undefined, insertStops: true, isAwaited: true };
  const cutter = new PhraseCutter(options, (phrase) => phrases.push(phrase));
  for (const [offset, character] of Array.from('Look here. ').entries())
    cutter.character(character, offset);
  expect(phrases).toEqual([]);
  cutter.peek('W');
  expect(textsOf(phrases)).toEqual(['Look here.']);
});

it('gives a whole sentence when it is asked for, and no half one', () => {
  const phrases: CutPhrase[] = [];
  const options = { language: 'en', maxCharacters: undefined, insertStops: true, isAwaited: true };
  const cutter = new PhraseCutter(options, (phrase) => phrases.push(phrase));
  for (const [offset, character] of Array.from('Done.').entries())
    cutter.character(character, offset);
  cutter.flushSentence();
  expect(textsOf(phrases)).toEqual(['Done.']);
  cutter.character('A', 5);
  cutter.flushSentence();
  expect(phrases).toHaveLength(1);
});
