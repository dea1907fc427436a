import { describe, expect, it } from 'vitest';
import { type Phrase, createPhraseSplitter } from './phrase-splitter.ts';

/** Repeatable: the seed stands in the test's name. */
function createRandom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b_3c6d) + 0x6d2b_79f5) | 0;
    return ((state ^ (state >>> 13)) >>> 0) % below;
  };
}

function split(text: string, cuts: number[] = [], maxCharacters?: number): Phrase[] {
  const splitter = createPhraseSplitter(maxCharacters === undefined ? {} : { maxCharacters });
  const places = [0, ...cuts.toSorted((one, other) => one - other), text.length];
  const phrases = places.flatMap((place, index) =>
    splitter.push(text.slice(place, places[index + 1])),
  );
  return [...phrases, ...splitter.end()];
}
const textsOf = (text: string, maxCharacters?: number) =>
  split(text, [], maxCharacters).map((phrase) => phrase.text);
const spoken = (text: string) => text.match(/[\p{L}\p{N}]/gu)?.join('') ?? '';

const PIECES = [
  ...['Hello', 'world', 'Dr.', 'e.g.', 'U.S.', '3.14', 'v2.0.1', 'No. 5', 'z.B.', 'I', 'ok', '42'],
  ...['.', '!', '?', '...', '…', '?!', '."', '.)', ',', ', ', '; ', ': ', ' - ', '"', '(', ')'],
  ...[' ', ' ', ' ', ' ', '\n', '\n\n', '\r\n\r\n', '   ', '\t', ' \n \n ', ' '.repeat(60)],
  ...[
    '你好',
    '。',
    '」',
    '、',
    '，',
    '！',
    'مرحبا',
    '؟',
    'नमस्ते',
    '।',
    '😀',
    '👩‍👩‍👧',
    'é',
    'x'.repeat(90),
  ],
];
const randomText = (random: (below: number) => number) =>
  Array.from({ length: 5 + random(150) }, () => {
    const piece = PIECES[random(PIECES.length)] ?? '';
    return random(2) === 0 ? `${piece} ` : piece;
  }).join('');

describe('whatever the text', () => {
  it.each(Array.from({ length: 200 }, (_, index) => index + 1))('holds (seed %i)', (seed) => {
    const random = createRandom(seed);
    const text = randomText(random);
    const limit = random(2) === 0 ? undefined : 20 + random(250);
    const whole = split(text, [], limit);
    const everywhere = Array.from({ length: text.length }, (_, index) => index);
    expect(split(text, everywhere, limit)).toEqual(whole);
    const somewhere = Array.from({ length: random(20) }, () => random(text.length));
    expect(split(text, somewhere, limit)).toEqual(whole);

    expect(spoken(whole.map((phrase) => phrase.text).join(''))).toBe(spoken(text));
    expect(whole.map(({ index }) => index)).toEqual(whole.map((_, index) => index));
    let from = 0;
    for (const phrase of whole) {
      expect(phrase.text.length).toBeLessThanOrEqual(Math.min(limit ?? 220, 220));
      expect(phrase.text.isWellFormed()).toBe(true);
      expect(phrase.rawStart).toBeGreaterThanOrEqual(from);
      expect(spoken(text.slice(from, phrase.rawStart))).toBe('');
      expect(text.slice(phrase.rawStart, phrase.rawEnd).replaceAll(/\s+/g, ' ').trim()).toBe(
        phrase.text,
      );
      from = phrase.rawEnd;
    }
  });
});

describe('a sentence', () => {
  it.each([
    'Pi is about 3.14159 and Dr. Smith paid $1,299.99 for v2.0.1 at example.com/index.html today.',
    'Use e.g. a hammer, i.e. a tool, and ask Prof. Miller or Mrs. Jones about J. R. Tolkien.',
    'It costs No. 5 on the list, approx. 12 dollars vs. 20 dollars.',
    'She said "wait... what?" and left.',
  ])('is one phrase: %s', (sentence) => {
    expect(textsOf(sentence)).toEqual([sentence]);
    expect(textsOf(`${sentence} The next one follows right behind it.`)).toEqual([
      sentence,
      'The next one follows right behind it.',
    ]);
  });

  it.each([
    ['你好世界。', '今天天气很好，我们去公园散步，然后一起吃晚饭吧，好不好呢？', '好的。'],
    ['これはペンです。', '「今日はとてもいい天気ですから、一緒に散歩に行きませんか。」', 'はい。'],
    ['नमस्ते दुनिया।', ' आज का मौसम बहुत अच्छा है और हम बाहर जाएंगे।', ' ठीक है।'],
  ])('ends by the marks of its script: %s', (...sentences) => {
    expect(textsOf(sentences.join(''))).toEqual(sentences.map((sentence) => sentence.trim()));
  });

  it('is given as soon as the next one begins', () => {
    const splitter = createPhraseSplitter();
    expect(splitter.push('Hello there. ')).toEqual([]);
    expect(splitter.push('H')).toMatchObject([{ index: 0, text: 'Hello there.', kind: 'first' }]);
    expect(splitter.push('ow are you')).toEqual([]);
    expect(splitter.end()).toMatchObject([{ index: 1, text: 'How are you', kind: 'final' }]);
  });

  it('that is complete can be had before', () => {
    const splitter = createPhraseSplitter();
    expect(splitter.push('Hello there.')).toEqual([]);
    expect(splitter.flushSentence()).toMatchObject([{ text: 'Hello there.' }]);
    splitter.push(' and th');
    expect(splitter.flushSentence()).toEqual([]);
  });

  it('ends with its paragraph', () => {
    expect(textsOf('A heading without a stop\n\nThen the text')).toEqual([
      'A heading without a stop',
      'Then the text',
    ]);
    expect(textsOf('A heading without a stop\r\n\r\nThen the text')).toHaveLength(2);
  });

  it('that is short joins the next one, but for the first', () => {
    expect(textsOf('Yes. No. Maybe so, who knows that today? Fine.')).toEqual([
      'Yes.',
      'No. Maybe so, who knows that today?',
      'Fine.',
    ]);
  });
});

describe('the limit', () => {
  it('holds for one word of 5,000 letters', () => {
    const texts = textsOf('a'.repeat(5000));
    expect(texts.join('')).toBe('a'.repeat(5000));
    expect(Math.max(...texts.map(({ length }) => length))).toBe(220);
  });

  it('never cuts a surrogate pair', () => {
    for (const before of ['', 'x']) {
      const texts = textsOf(`${before}${'𝕏'.repeat(400)}`);
      expect(texts.every((text) => text.isWellFormed())).toBe(true);
    }
  });

  it('is the engine’s when that is lower, and cuts at clauses before words', () => {
    const texts = textsOf('We walked along the river, and then we sat down under the old tree', 40);
    expect(texts).toEqual([
      'We walked along the river,',
      'and then we sat down under the old tree',
    ]);
  });
});

it('says nothing for text without a letter or digit', () => {
  expect(textsOf(' ... !!! \n\n —— 😀 ')).toEqual([]);
});

it('takes nothing after its end until it is reset', () => {
  const splitter = createPhraseSplitter();
  splitter.push('One. Two');
  expect(splitter.end()).toHaveLength(1);
  expect(splitter.end()).toEqual([]);
  expect(() => splitter.push('x')).toThrow('push after end');
  splitter.reset();
  splitter.push('Again');
  expect(splitter.end()).toMatchObject([{ index: 0, rawStart: 0, text: 'Again' }]);
});
