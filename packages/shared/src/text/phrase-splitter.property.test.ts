import { PATIENCE } from '@antiphon/testing/until';
import {
  array,
  assert,
  boolean,
  configureGlobal,
  constantFrom,
  integer,
  nat,
  oneof,
  property,
  record,
} from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type Phrase,
  type PhraseSplitterOptions,
  createPhraseSplitter,
} from './phrase-splitter.ts';

/** The same texts in every run; `FAST_CHECK_SEED=7 npx vitest run src/text` tries others. */
configureGlobal({ seed: Number(process.env['FAST_CHECK_SEED'] ?? 20_261_121) });

/** Prose whose phrases must say exactly this, whatever stands around it. */
const SENTENCES = [
  'Hello there.',
  'Is it 3.14 or 22,1 today?',
  'Dr. Smith paid $1,299.99 for v2.0.1!',
  'Yes, no, maybe; who knows: nobody.',
  'She said "stop!" and left.',
  'Am 3. Oktober kam er, z.B. mit Nr. 7.',
  '« Vraiment ? » dit-il.',
  '¿Qué tal, Sra. Ruiz?',
  'Это г-н А. Иванов и т.д. вчера.',
  'Πού είσαι;',
  '你好，世界。今天很好！',
  '「今日は晴れです。」',
  '안녕하세요, 여러분.',
  'สวัสดีครับ ผมชื่อสมชาย ยินดีที่ได้รู้จักทุกคน',
  'नमस्ते दुनिया।',
  'مرحبا، كيف حالك؟',
  'an end without a mark',
  'Wait... what?! No…',
  'well–known and a—b',
];
/** Inline Markdown and what is left of it. */
const INLINE: [raw: string, said: string][] = [
  ...SENTENCES.map((sentence): [string, string] => [sentence, sentence]),
  ['**bold**', 'bold'],
  ['_it_ and *it*', 'it and it'],
  ['~~gone~~', 'gone'],
  ['`code(x)`', 'code(x)'],
  ['``a ` b``', 'a b'],
  ['[label](https://x.org/a_b_(c) "t")', 'label'],
  ['![alt](i.png)', 'alt'],
  ['https://www.example.org/a?b=c', 'example.org'],
  ['snake_case 5*3', 'snake_case 5*3'],
  ['<b>strong</b>', 'strong'],
  ['a < 5', 'a < 5'],
  ['$x^2$', ''],
  ['\\(y\\)', ''],
  ['😀', ''],
  ['👩‍👩‍👧', ''],
];
/** Blocks that are shown and not said. All their letters are `q`. */
const UNSPOKEN = [
  '```js\nqqq("q");\n\n# qq\n```\n',
  '~~~\n``` q\n~~~~\n',
  '  ```\n  qq\n  ```  \n',
  '> ```q q\n> q\n> ```\n',
  '| q | qq |\n|---|:-:|\n| q. Q | q |\n\n',
  '```\nq\r\nq\n``` q\n```\n',
];
/** What may leave something open, or is no text at all. */
const DIRT = [
  ...[
    '`',
    '``',
    '```',
    '~~~',
    '*',
    '**',
    '_',
    '[',
    ']',
    '](',
    '![',
    '(',
    ')',
    '<',
    '<b',
    '</',
    '>',
  ],
  ...['$', '$$', '\\', '\\(', '\\[', '|', '|-|', '#', '# ', '- ', '1. ', '1) ', '> ', '    ', '\t'],
  ...[
    '"',
    "'",
    '“',
    '”',
    '„',
    '«',
    '»',
    '「',
    '」',
    '¿',
    '.',
    '!',
    '?',
    '…',
    '。',
    '！',
    ',',
    '、',
    ';',
    '—',
    '–',
  ],
  ...[
    '\n',
    '\n\n',
    '\r\n',
    '\r',
    ' ',
    '\u00a0',
    '\u202f',
    '\u2028',
    '\u0000',
    '\u001b',
    '\u200f',
    '\u202e',
  ],
  ...[
    '😀',
    '👍🏽',
    '🇩🇪',
    '1️⃣',
    '\ufe0f',
    '\u200d',
    '\ud83d',
    '\ude00',
    '\u0301',
    'e\u0301',
    '𝕏',
    '\ufeff',
  ],
  ...['http://', 'www.', 'https://x.org/', 'h', 'w', 'a', 'B', '7', '.5', 'Dr.', 'x'.repeat(90)],
  ...[
    '<think>',
    '</think>',
    '<br>',
    '<!--',
    '-->',
    '---',
    '===',
    '***',
    'مرحبا',
    'ไทย',
    '你',
    'नि',
  ],
];

const pieces = oneof(
  { weight: 3, arbitrary: constantFrom(...SENTENCES) },
  { weight: 2, arbitrary: constantFrom(...INLINE.map(([raw]) => raw)) },
  { weight: 1, arbitrary: constantFrom(...UNSPOKEN) },
  { weight: 6, arbitrary: constantFrom(...DIRT) },
  { weight: 2, arbitrary: constantFrom(' ', ' ', '\n', '\n\n') },
);
const dirtyText = array(pieces, { maxLength: 60 }).map((parts) => parts.join(''));
const settings = record(
  {
    language: constantFrom('en', 'de', 'el', 'ja', 'xx'),
    maxCharacters: integer({ min: 20, max: 300 }),
    markdown: boolean(),
  },
  { requiredKeys: [] },
);

interface Outcome {
  phrases: Phrase[];
  unspoken: string;
}

function split(deltas: readonly string[], options: PhraseSplitterOptions = {}): Outcome {
  let unspoken = '';
  const onUnspoken = (raw: string) => {
    unspoken += raw;
  };
  const splitter = createPhraseSplitter({ ...options, onUnspoken });
  const phrases = deltas.flatMap((delta) => splitter.push(delta));
  return { phrases: [...phrases, ...splitter.end()], unspoken };
}
function cut(text: string, places: readonly number[]): string[] {
  const sorted = [0, ...places.map((place) => place % (text.length + 1)), text.length].toSorted(
    (one, other) => one - other,
  );
  return sorted.slice(1).map((place, index) => text.slice(sorted[index], place));
}
const transcript = (phrases: readonly Phrase[]) =>
  phrases.map(({ before, text }) => before + text).join('');
const spoken = (text: string) => text.match(/[\p{L}\p{N}]/gu)?.join('') ?? '';
const wordsOf = (text: string) => text.split(/\s+/).filter((word) => spoken(word) !== '');

const BAD_START = /^(?!\.\p{N})(?:[.!?…。！？｡．।॥؟۔։።។,;:、，；：)\]}」』）》】”\p{M}]|["'»’]\s)/u;
const BAD_END = /[¿¡「『（《【([{]$|\s[“„«‚‘]$/u;
/** Fences and pictures. */
const NEVER_SAID = /`{3}|~{3}|[\u{1f000}-\u{1faff}]|\ufe0f|\u20e3|[^\p{L}\p{M}]\u200d/u;

function expectSound(
  phrases: readonly Phrase[],
  { markdown, maxCharacters }: PhraseSplitterOptions,
) {
  let from = 0;
  for (const [index, { text, ...phrase }] of phrases.entries()) {
    expect(phrase.index).toBe(index);
    expect(spoken(text)).not.toBe('');
    expect(text).toBe(text.trim());
    expect(text).not.toMatch(/[^\S ]| {2}/);
    expect(text).not.toMatch(BAD_START);
    expect(text).not.toMatch(BAD_END);
    expect(text.isWellFormed()).toBe(true);
    expect(markdown === false ? '' : text).not.toMatch(NEVER_SAID);
    expect(text.length).toBeLessThanOrEqual(Math.min(maxCharacters ?? 220, 220));
    const heavy = text.match(/[\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}\p{sc=Hangul}]/gu) ?? [];
    expect(Array.from(text).length + 2 * heavy.length).toBeLessThanOrEqual(220);
    expect(phrase.rawStart).toBeGreaterThanOrEqual(from);
    expect(phrase.rawEnd).toBeGreaterThan(phrase.rawStart);
    from = phrase.rawEnd;
  }
  expect(phrases[0]?.before ?? '').toBe('');
}

describe('whatever the text', () => {
  it('phrases and code are the same for every way of cutting it into deltas', () => {
    assert(
      property(dirtyText, settings, array(nat(), { maxLength: 20 }), (text, options, places) => {
        const whole = split([text], options);
        expect(split(text.split(''), options)).toEqual(whole);
        expect(split(Array.from(text), options)).toEqual(whole);
        expect(split(cut(text, places), options)).toEqual(whole);
      }),
      { numRuns: 400 },
    );
  });

  it('every phrase is sound', () => {
    assert(
      property(dirtyText, settings, (text, options) => {
        expectSound(split([text], options).phrases, options);
      }),
      { numRuns: 1500 },
    );
  });

  it('the phrases of its beginning are the beginning of its phrases', () => {
    assert(
      property(dirtyText, settings, nat(), (text, options, place) => {
        const splitter = createPhraseSplitter(options);
        const early = splitter.push(text.slice(0, place % (text.length + 1)));
        const { phrases } = split([text], options);
        const plain = (all: Phrase[]) => all.map((phrase) => ({ ...phrase, kind: 'normal' }));
        expect(plain(early)).toEqual(plain(phrases.slice(0, early.length)));
      }),
      { numRuns: 400 },
    );
  });

  it('that is no Markdown, all of it is said, once and in order', () => {
    assert(
      property(dirtyText, (text) => {
        const { phrases, unspoken } = split([text], { markdown: false });
        expect(spoken(transcript(phrases))).toBe(spoken(text.toWellFormed()));
        expect(unspoken).toBe('');
        const words = (all: string) => wordsOf(all).map((word) => spoken(word));
        expect(words(transcript(phrases))).toEqual(words(text.replaceAll(/[\r\ufeff]/g, '')));
      }),
      { numRuns: 600 },
    );
  });

  it('inline Markdown is read, words neither glued nor cut', () => {
    const parts = array(constantFrom(...INLINE), { maxLength: 40 });
    assert(
      property(parts, (inline) => {
        const raw = `Begin ${inline.map(([part]) => part).join(' ')}`;
        const said = `Begin ${inline.map(([, part]) => part).join(' ')}`;
        const { phrases, unspoken } = split([raw]);
        expect(wordsOf(transcript(phrases))).toEqual(wordsOf(said));
        expect(unspoken).toBe('');
      }),
      { numRuns: 400 },
    );
  });

  it('every prefix of it keeps code to itself', () => {
    const parts = array(
      oneof(constantFrom(...UNSPOKEN), constantFrom('Say this.\n', 'and\n\n', '- item\n')),
      { minLength: 1, maxLength: 6 },
    );
    assert(
      property(parts, (blocks) => {
        const text = blocks.join('');
        // A table is one only when its second line is there.
        const tableless = text.replaceAll(/\| q \| qq \|\n\|---/g, '| 1 | 22 |\n|---');
        for (let end = 0; end <= tableless.length; end += 1) {
          const { phrases } = split([tableless.slice(0, end)]);
          for (const phrase of phrases) expect(phrase.text).not.toMatch(/q/i);
        }
      }),
      { numRuns: 40 },
    );
  });

  it('a fence between two sentences changes nothing that is said', () => {
    const sentences = array(constantFrom(...SENTENCES), { minLength: 2, maxLength: 10 });
    const code = array(oneof(constantFrom(...DIRT), constantFrom(...SENTENCES)), {
      maxLength: 20,
    });
    assert(
      property(sentences, code, nat(), constantFrom('```', '~~~~'), (all, body, at, mark) => {
        const place = 1 + (at % (all.length - 1));
        const inside = body.join('').replaceAll(/[`~]/g, 'x');
        const fence = `\n${mark}js\n${inside}\n${mark}\n`;
        const around = (between: string) =>
          `${all.slice(0, place).join(' ')}${between}${all.slice(place).join(' ')}`;
        const { phrases, unspoken } = split([around(fence)]);
        expect(wordsOf(transcript(phrases))).toEqual(
          wordsOf(transcript(split([around('\n\n')]).phrases)),
        );
        expect(wordsOf(transcript(phrases))).toEqual(wordsOf(all.join(' ')));
        expect(unspoken.startsWith(`${mark}js\n`)).toBe(true);
        expect(unspoken.endsWith(`\n${mark}\n`)).toBe(true);
        const open = split([`${all.slice(0, place).join(' ')}\n${mark}js\n${inside}`]);
        expect(wordsOf(transcript(open.phrases))).toEqual(wordsOf(all.slice(0, place).join(' ')));
      }),
      { numRuns: 300 },
    );
  });

  it('is forgotten by a reset', () => {
    assert(
      property(dirtyText, dirtyText, settings, (before, text, options) => {
        const splitter = createPhraseSplitter(options);
        splitter.push(before);
        splitter.reset();
        const phrases = [...splitter.push(text), ...splitter.end()];
        expect(phrases).toEqual(split([text], options).phrases);
      }),
      { numRuns: 300 },
    );
  });
});

describe('a stray mark', () => {
  const prose = 'This is a sentence of some length. And here comes another one of them. '.repeat(
    60,
  );

  it.each([
    ...['`', '``', '*', '**', '_', '[', '![', ']', '<', '<b', '$', '$$', '\\', '\\(', '\\[', '|'],
    ...[
      '#',
      '-',
      '1',
      '1.',
      '> ',
      '(',
      '"',
      '~',
      '~~',
      'http://',
      'www.',
      '[a](',
      'x ```',
      '|a\n|',
    ],
  ])('holds the text back for a bounded length: %j', (mark) => {
    const splitter = createPhraseSplitter();
    let pushed = 0;
    while (splitter.push(`${mark}${prose}`.charAt(pushed)).length === 0) pushed += 1;
    expect(pushed).toBeLessThan(2200);
    splitter.reset();
    const phrases = [...splitter.push(`${mark}${prose}`), ...splitter.end()];
    expect(transcript(phrases).match(/another one/g)).toHaveLength(60);
  });
});

describe('the work', () => {
  const PIECES = {
    prose: 'Some words here, and more of them. ',
    letters: 'a',
    'nested lists': '1. - ',
    markers: '- ',
    tags: '<a',
    targets: '](',
    dollars: '$x ',
    stars: '*a',
    backticks: '`a',
    'fence in a line': 'x ```y ',
    pipes: '| a\n',
    openers: '(',
    quotes: '" ',
    stops: '. ',
    marks: 'a\u0301',
    ideographs: '你',
    thai: 'สวัสดี',
    addresses: 'http://a.b/c. ',
    mixed: '<a$x](`*[\\(',
  };

  it.each(Object.entries(PIECES))('grows with the length and no faster: %s', (_, piece) => {
    const workOf = (length: number) => {
      const text = piece.repeat(Math.ceil(length / piece.length));
      const before = process.cpuUsage();
      split([text]);
      const used = process.cpuUsage(before);
      return used.user + used.system;
    };
    workOf(32_768);
    const small = Math.min(...Array.from({ length: 3 }, () => workOf(65_536)));
    // 8 times the text: 8 times the work, 64 times if it were quadratic.
    const large = Math.min(...Array.from({ length: 2 }, () => workOf(524_288)));
    expect(large).toBeLessThan((small + 2000) * 8 * PATIENCE);
  });

  it('is linear up to a megabyte', () => {
    const text = 'Some words here, and more of them. '.repeat(30_000);
    const { phrases } = split([text]);
    expect(spoken(transcript(phrases))).toBe(spoken(text));
  });
});
