import { describe, expect, it } from 'vitest';
import {
  type Phrase,
  type PhraseSplitterOptions,
  createPhraseSplitter,
} from './phrase-splitter.ts';

interface Outcome {
  phrases: Phrase[];
  unspoken: string;
}

function split(text: string, options: PhraseSplitterOptions = {}): Outcome {
  let unspoken = '';
  const splitter = createPhraseSplitter({
    ...options,
    onUnspoken: (raw) => {
      unspoken += raw;
    },
  });
  const phrases = [...splitter.push(text), ...splitter.end()];
  return { phrases, unspoken };
}
const textsOf = (text: string, options?: PhraseSplitterOptions) =>
  split(text, options).phrases.map((phrase) => phrase.text);
const transcriptOf = (text: string, options?: PhraseSplitterOptions) =>
  split(text, options)
    .phrases.map((phrase) => phrase.before + phrase.text)
    .join('');

describe('a text that nobody waits for', () => {
  const isAwaited = false;

  it('is not cut at a clause for the sake of its first sound', () => {
    const sentence =
      'The old captain walked slowly towards the tower, before anybody else had even woken up.';
    expect(textsOf(sentence)).toHaveLength(2);
    expect(textsOf(sentence, { isAwaited })).toEqual([sentence]);
    const spaceless = '今日はとてもいい天気ですから、みんなで一緒に公園へ散歩に行きましょう。';
    expect(textsOf(spaceless).length).toBeGreaterThan(1);
    expect(textsOf(spaceless, { isAwaited })).toEqual([spaceless]);
  });

  it('is cut at its sentences, and where it grows too long', () => {
    const long = Array.from({ length: 60 }, (_, index) => `word${index}`).join(' ');
    expect(textsOf(`One is short. The ${long}.`, { isAwaited })[0]).toBe('One is short.');
    for (const text of textsOf(long, { isAwaited })) expect(text.length).toBeLessThanOrEqual(220);
    expect(transcriptOf(long, { isAwaited })).toBe(long);
  });
});

describe('a sentence', () => {
  it.each([
    'Pi is about 3.14159 and Dr. Smith paid $1,299.99 for v2.0.1 at example.com/index.html today.',
    'Use e.g. a hammer or ask Prof. Miller and Mrs. Jones about J. R. Tolkien.',
    'It costs No. 5 on the list and approx. 12 dollars vs. 20 dollars.',
    'She said "wait... what?" and left.',
    '"Stop!" she said and left the house.',
    'The U.S. economy grew at 9 a.m. yesterday etc. and nobody saw it.',
    'Inc. and Ltd. are short (see Fig. 3 and Vol. 2).',
  ])('is one phrase: %s', (sentence) => {
    expect(textsOf(sentence)).toEqual([sentence]);
    expect(textsOf(`${sentence} The next one follows right behind it.`)).toEqual([
      sentence,
      'The next one follows right behind it.',
    ]);
  });

  it('is given as soon as the next one begins, whatever letter that is', () => {
    for (const [first, rest] of [
      ['H', 'ow are you'],
      ['W', 'e are here'],
      ['T', 'he end'],
    ] as const) {
      const splitter = createPhraseSplitter();
      expect(splitter.push('Hello there. ')).toEqual([]);
      expect(splitter.push(first)).toMatchObject([
        { index: 0, text: 'Hello there.', kind: 'first' },
      ]);
      expect(splitter.push(rest)).toEqual([]);
      expect(splitter.end()).toMatchObject([{ index: 1, text: first + rest, kind: 'final' }]);
    }
  });

  it('that is complete can be had before', () => {
    const splitter = createPhraseSplitter();
    expect(splitter.push('Hello there.')).toEqual([]);
    expect(splitter.flushSentence()).toMatchObject([{ text: 'Hello there.', pause: 'sentence' }]);
    splitter.push(' and th');
    expect(splitter.flushSentence()).toEqual([]);
    splitter.push('en Dr.');
    expect(splitter.flushSentence()).toEqual([]);
    expect(splitter.end()).toMatchObject([{ text: 'and then Dr.' }]);
    expect(splitter.flushSentence()).toEqual([]);
  });

  it('that is short joins the next one, but for the first', () => {
    expect(textsOf('Yes. No. Maybe so, who knows that today? Fine.')).toEqual([
      'Yes.',
      'No. Maybe so, who knows that today?',
      'Fine.',
    ]);
  });

  it.each([
    ['He won! yes', ['He won!', 'yes']],
    ['Wait... no. Then go', ['Wait... no.', 'Then go']],
    ['Wait… Then go', ['Wait…', 'Then go']],
    ['Really?! (Yes.) Good', ['Really?!', '(Yes.) Good']],
    ['He asked (why?) and left. Then', ['He asked (why?) and left.', 'Then']],
    ['He came. . . Then', ['He came. . .', 'Then']],
    ['Use it. .NET is good', ['Use it. .NET is good']],
    ['「行く！」と言った。次', ['「行く！」と言った。', '次']],
    ['Steps: 1. Open it. 2. Close it.', ['Steps: 1. Open it.', '2. Close it.']],
    ['I am 42. Then', ['I am 42. Then']],
    ['What is α; Γεια', ['What is α;', 'Γεια']],
  ])('ends by the rules of its marks: %s', (text, expected) => {
    expect(textsOf(text)).toEqual(expected);
  });
});

/** Each row: a text whose phrases, joined by what stands between, are the text itself; and the sentences it is cut into, as the first phrase needs no minimum. */
const LANGUAGES: [language: string, phrases: string[]][] = [
  [
    'en',
    [
      'Dr. Lee met Mr. J. Fox at 10:30 a.m. today.',
      'They paid $1,299.99 for version 2.0.1 of the app!',
      'Was it, e.g., worth the price at shop.example.com?',
    ],
  ],
  [
    'de',
    [
      'Am 3. Oktober kam Dr. Weber z.B. um 8.30 Uhr.',
      '„Das kostet ca. 22,50 Euro bzw. 19 Franken.“',
      'Fragen Sie bitte Frau Prof. Klein usw. bis Nr. 7!',
    ],
  ],
  [
    'fr',
    [
      'M. Dupont a vu Mme Leroy au 12 av. Foch.',
      '« Vraiment ? Elle a payé 1 250,75 euros ! »',
      'Regardez p.ex. la page du site exemple.fr.',
    ],
  ],
  [
    'es',
    [
      '¿Cómo está la Sra. García hoy?',
      '¡El Sr. Ruiz pagó 3,50 euros por el libro!',
      'Vive en la avda. Central con la Dra. Gil.',
    ],
  ],
  [
    'it',
    [
      'Il dott. Rossi e la Sig.ra Bianchi arrivano alle 9.45.',
      'Costa 12,80 euro e la Sig. Neri ride!',
      'Dove abita il Prof. Verdi adesso?',
    ],
  ],
  [
    'pt',
    [
      'O Sr. Silva falou com a Dra. Costa às 10.15 de ontem.',
      'Custou 4,99 euros na loja da Av. Brasil!',
      'Onde fica a casa da Sra. Melo agora?',
    ],
  ],
  [
    'nl',
    [
      'Dhr. Jansen kwam bijv. om 9.30 uur met mevr. Bakker.',
      'Het kost 12,50 euro in winkel nr. 4!',
      'Waar woont drs. De Vries nu eigenlijk?',
    ],
  ],
  [
    'pl',
    [
      'Prof. Nowak i dr Kowalska mieszkają przy ul. Długiej.',
      'To kosztuje np. 12,50 na str. 14 cennika!',
      'Czy 3. Maja będzie padać w Krakowie?',
    ],
  ],
  [
    'ru',
    [
      'Г-н А. С. Иванов живёт на ул. Ленина.',
      'Он купил хлеб, сыр и т.д. за 250,50 рублей!',
      'Где находится стр. 15 этой книги?',
    ],
  ],
  [
    'el',
    [
      'Ο κ. Παπαδόπουλος πλήρωσε 12,50 ευρώ σήμερα.',
      'Πού μένει η κα. Νίκου στην Αθήνα;',
      'Πάρε π.χ. το βιβλίο από τη σελ. 15 και φύγε!',
    ],
  ],
  [
    'tr',
    [
      'Prof. Yılmaz saat 10.30 treniyle geldi.',
      'Bu kitap 12,50 lira mı, örn. bugün pahalı mı?',
      'Doç. Kaya 3. Cadde üzerinde oturuyor!',
    ],
  ],
  [
    'ar',
    [
      'التقى د. أحمد بالطلاب اليوم.',
      'هل تبلغ النسبة 3.14 في المئة يا صديقي؟',
      'زوروا الموقع example.com غدا في الصباح!',
    ],
  ],
  [
    'hi',
    [
      'डॉ. शर्मा आज दस बजे आए।',
      'किताब की कीमत 12.50 रुपये है और वह अच्छी है।',
      'क्या आप श्री. वर्मा को पहले से जानते हैं?',
    ],
  ],
  [
    'zh',
    ['你好世界。', '圆周率大约是3.14159吗？', '他说：“我们明天去北京。”', '好的，再见！谢谢你！'],
  ],
  ['ja', ['今日は晴れです。', '「一緒に散歩しませんか。」', 'バージョン2.0.1は無料ですか？']],
  ['ko', ['안녕하세요.', '오늘은 3.5도입니다.', '김 선생님은 "네." 라고 하셨어요.']],
  ['th', ['สวัสดีครับผมชื่อสมชาย', 'ยินดีที่ได้รู้จักทุกคนครับ', 'วันนี้อากาศดีมากเลยนะครับเพื่อน']],
];

describe.each(LANGUAGES)('%s', (language, phrases) => {
  const between = language === 'zh' || language === 'ja' ? '' : ' ';
  const text = phrases.join(between);

  it.each([{ language }, { language: `${language}-XX` }, {}])(
    'is cut into sentences: %o',
    (named) => {
      expect(textsOf(text, named)).toEqual(phrases);
      expect(textsOf(text, { ...named, markdown: false })).toEqual(phrases);
      expect(transcriptOf(text, named)).toBe(text);
    },
  );

  it('is read from a list, beside code and addresses', () => {
    const list = phrases.map((phrase, index) => `${index + 1}. ${phrase}`).join('\n');
    const address = 'https://example.com/path?query=1';
    const { phrases: spoken, unspoken } = split(`${list}\n\n\`\`\`sh\nls\n\`\`\`\n${address}`, {
      language,
    });
    expect(spoken.map((phrase) => phrase.text).join(' ')).toBe(
      `${phrases.map((phrase, index) => `${index + 1}. ${phrase}`).join(' ')} example.com`,
    );
    expect(unspoken).toBe('```sh\nls\n```\n');
  });
});

describe('the first phrase', () => {
  it.each([
    ['Well then, let us go', 'Well then,'],
    ['Well, let us see, what', 'Well, let us see,'],
    ['On January 1, 1980, it began', 'On January 1, 1980,'],
    ['At 10:30 we had 22,1 degrees; then rain', 'At 10:30 we had 22,1 degrees;'],
    ['A long word—then more', 'A long word—'],
    ['One thing – then more', 'One thing –'],
    ['"Well then," he said', '"Well then,"'],
    ['我们今天，去', '我们今天，'],
    ['مرحبا بكم، نحن', 'مرحبا بكم،'],
    ['สวัสดีครับผมชื่อสมชาย ยินดี', 'สวัสดีครับผมชื่อสมชาย'],
  ])('is cut at a clause: %s', (text, first) => {
    const { phrases } = split(text);
    expect(phrases[0]).toMatchObject({ text: first, pause: 'clause', kind: 'first' });
    expect(phrases).toHaveLength(2);
  });

  it('is cut at a blank when no mark comes for 90 characters', () => {
    const text = `${'seven77 '.repeat(12)}and so on`;
    expect(split(text).phrases[0]).toMatchObject({
      text: 'seven77 '.repeat(8).trim(),
      pause: 'none',
    });
    expect(transcriptOf(text)).toBe(text);
    const oneWord = `short ${'x'.repeat(60)} ${'y'.repeat(60)}`;
    expect(textsOf(oneWord)).toEqual([oneWord]);
  });

  it('is cut at a clause early, later ones late', () => {
    const text = 'and the words go on, '.repeat(40).trim();
    const lengths = textsOf(text).map(({ length }) => length);
    expect(lengths).toEqual([20, 41, 62, 83, 146, 146, 146, 146, 41]);
    expect(transcriptOf(text)).toBe(text);
  });
});

describe('pause and before', () => {
  it('tell what a phrase was cut at', () => {
    const text = 'Well then, I go. Here it ends and nobody minds that.\n\n- next block\nlast';
    expect(split(text).phrases.map(({ text, pause, before }) => [before, text, pause])).toEqual([
      ['', 'Well then,', 'clause'],
      [' ', 'I go. Here it ends and nobody minds that.', 'paragraph'],
      ['\n\n', 'next block last', 'none'],
    ]);
  });

  it.each([
    ['Hello.', 'sentence'],
    ['"Hello."  ', 'sentence'],
    ['Hello,', 'clause'],
    ['Hello', 'none'],
    ['Hello.\n\n', 'paragraph'],
    ['你好。', 'sentence'],
  ])('know the end of the text: %j', (text, pause) => {
    expect(split(text).phrases.at(-1)).toMatchObject({ pause });
  });

  it('know where a phrase stood', () => {
    const text = 'One **two** three. 😀 [Four](http://x) five https://six.org/seven?8=9 ten.';
    expect(split(text).phrases.map(({ rawStart, rawEnd }) => text.slice(rawStart, rawEnd))).toEqual(
      ['One **two** three.', 'Four](http://x) five https://six.org/seven?8=9 ten.'],
    );
  });
});

describe('the limit', () => {
  it('holds for one word of 5,000 letters', () => {
    const texts = textsOf('a'.repeat(5000));
    expect(texts.join('')).toBe('a'.repeat(5000));
    expect(Math.max(...texts.map(({ length }) => length))).toBe(220);
  });

  it('never cuts a pair or a cluster', () => {
    for (const piece of ['𝕏', 'e\u0301\u0323', 'नि', '👩‍👩‍👧']) {
      const words = `x${piece.repeat(400)}`;
      const texts = textsOf(words, { markdown: false });
      expect(texts.join('')).toMatch(/^x/);
      for (const text of texts) {
        expect(text.isWellFormed()).toBe(true);
        expect(text.replace(/^x/, '').replaceAll(piece, '')).toBe('');
      }
    }
  });

  it('counts a syllable or an ideograph as three letters', () => {
    const texts = textsOf('我们今天去北京的公园里面散步然后回家'.repeat(20));
    expect(Math.max(...texts.map(({ length }) => length))).toBeLessThanOrEqual(73);
    expect(Math.min(...texts.slice(0, -1).map(({ length }) => length))).toBeGreaterThan(60);
  });

  it('cuts Thai and Chinese between words', () => {
    const text = 'ประเทศไทยมีอาหารอร่อยมากมายและผู้คนใจดี'.repeat(12);
    const words = new Intl.Segmenter('th', { granularity: 'word' });
    const ends = new Set([...words.segment(text)].map(({ index }) => index));
    const { phrases } = split(text);
    expect(phrases.length).toBeGreaterThan(1);
    for (const { rawStart } of phrases) expect(ends.has(rawStart)).toBe(true);
    expect(phrases.map((phrase) => phrase.before + phrase.text).join('')).toBe(text);
  });

  it('is the engine’s when that is lower, and cuts at clauses before words', () => {
    const text = 'We walked along the river, and then we sat down under the old tree';
    expect(textsOf(text, { maxCharacters: 40 })).toEqual([
      'We walked along the river,',
      'and then we sat down under the old tree',
    ]);
    expect(textsOf(text, { maxCharacters: 16 })).toEqual([
      'We walked along',
      'the river,',
      'and then we sat',
      'down under the',
      'old tree',
    ]);
    expect(textsOf('Antidisestablishment', { maxCharacters: 1 })).toHaveLength(20);
  });
});

describe('Markdown', () => {
  it.each([
    ['# Title\nText', ['Title', 'Text']],
    ['## C# and #1\n#hashtag C#', ['C# and #1', '#hashtag C#']],
    ['Title\n=====\nText', ['Title', 'Text']],
    ['One\n\n***\n\nTwo\n\n- - -\nThree', ['One', 'Two', 'Three']],
    ['- one\n* two\n+ three\n• four\n  - five', ['one', 'two', 'three', 'four', 'five']],
    ['- [ ] open\n- [x] done\n- [y] text', ['open', 'done', 'y text']],
    ['1. one\n2) two\n   10. three', ['1. one', '2) two', '10. three']],
    ['-5 degrees', ['-5 degrees']],
    ['*Note:* read ~/x', ['Note: read ~/x']],
    ['> quoted\n> text\n\nafter', ['quoted text', 'after']],
    ['Line one\nLine two', ['Line one. Line two']],
    ['Lines,\nLine two', ['Lines, Line two']],
    ['line one\nline two', ['line one line two']],
    ['**bold** and *it* and __b__ and _i_ and ~~gone~~', ['bold and it and b and i and gone']],
    ['5 * 3 and 5*3 and 2**3 and snake_case_name', ['5 * 3 and 5*3 and 2**3 and snake_case_name']],
    ['about ~5 `a*b` and ``x ` y``', ['about ~5 a*b and x y']],
    ['这是**重点**和*强调*内容', ['这是重点和强调内容']],
    ['[a label](https://x.y/(z) "t") ends', ['a label ends']],
    ['![an image](i.png) and [![x](y)](z)', ['an image and x']],
    ['array[0] and [1, 2, 3 and [1][2] and [r]', ['array[0] and 1, 2, 3 and 1 2 and r']],
    ['see [this](not closed\nand more', ['see this(not closed and more']],
    ['a < 5 and b > 3 <b>bold</b> x<y', ['a < 5 and b > 3 bold x<y']],
    ['one<br>two<p>three</p>four', ['one', 'two', 'three', 'four']],
    ['before <!-- a > b --> after', ['before after']],
    ['<think>hm ``` hm\n\n- x</think>\n\nYes', ['Yes']],
    ['mail <me@x.org> or <https://x.org/y>', ['mail me@x.org or x.org']],
    ['(see https://www.x.org/a/b_(c)?d=e). Then', ['(see x.org).', 'Then']],
    ['at http://u:p@x.org:80/ and v1.2/file.txt me@x.org', ['at x.org and v1.2/file.txt me@x.org']],
    ['**https://x.org/a**!', ['x.org!']],
    ['so $x^2$ is and $$\ny\n$$ or \\(z\\) and \\[w\\] done', ['so is and or and done']],
    ['$5 and $10, US$ 5 and $x and $y', ['$5 and $10,', 'US$ 5 and $x and $y']],
    ['\\*not bold\\* C:\\dir 1\\. \\`x', ['*not bold* C:\\dir 1. x']],
    ['Great 😀! Great👍🏽Thing 🇩🇪 1️⃣ © ™ # * 2', ['Great!', 'Great Thing 1 © ™ # * 2']],
    ['हिन्दी क्\u200dष है', ['हिन्दी क्\u200dष है']],
    ['a joiner \u200d alone \u200d', ['a joiner alone']],
  ])('is read, not spelled: %j', (text, expected) => {
    expect(textsOf(text)).toEqual(expected);
  });

  it.each([
    ['A\n```js\nx\n```\nB', ['A', 'B'], '```js\nx\n```\n'],
    ['A\n~~~~\nx\n~~~\n```\n~~~~~ \nB', ['A', 'B'], '~~~~\nx\n~~~\n```\n~~~~~ \n'],
    ['- A\n  ```\n  x\n  ```\n- B', ['A', 'B'], '  ```\n  x\n  ```\n'],
    ['- ```\n  x\n  ```\nB', ['B'], '```\n  x\n  ```\n'],
    ['1. ```\nx\n```\nB', ['B'], '```\nx\n```\n'],
    ['> A\n> ```\n> x\n> ```\n> B', ['A', 'B'], '> ```\n> x\n> ```\n'],
    ['A\r\n```\r\nx\r\n```\r\nB', ['A', 'B'], '```\nx\n```\n'],
    ['A ```x``` B', ['A x B'], ''],
    ['```x``` B `c`', ['x B c'], ''],
    ['``` x ` y ``` B', ['x y B'], ''],
    ['A ```js\nx\n```\nB', ['A', 'B'], '```js\nx\n```\n'],
    ['A `` ``` `` B', ['A B'], ''],
    ['A\n```\nx', ['A'], '```\nx'],
    ['A\n```js', ['A'], '```js'],
    ['A ```js', ['A'], '```js'],
    ['A\n``', ['A'], ''],
    ['A\n\n    x\n\n    y\nB', ['A', 'B'], '    x\n\n    y\n'],
    ['A\n    b', ['A b'], ''],
    ['- A\n\n    b', ['A', 'b'], ''],
    ['A\n\n    ```\n    x\n    ```\nB', ['A', 'B'], '    ```\n    x\n    ```\n'],
    ['A\n| x | y |\n|---|:-:|\n| 1 | 2 |\nB', ['A', 'B'], '| x | y |\n|---|:-:|\n| 1 | 2 |\n'],
    ['| x |\n|---|', [], '| x |\n|---|'],
    ['| x | y\n| z', ['| x | y | z'], ''],
    ['|a\n|b\n|-|\n|c\n\n|d', ['|a', '|d'], '|b\n|-|\n|c\n'],
  ])('shows code and tables without saying them: %j', (text, expected, unspoken) => {
    const outcome = split(text);
    expect(outcome.phrases.map((phrase) => phrase.text)).toEqual(expected);
    expect(outcome.unspoken).toBe(unspoken);
  });

  it('says what is before code as soon as the code begins, and shows the code by lines', () => {
    const shown: string[] = [];
    const splitter = createPhraseSplitter({ onUnspoken: (raw) => shown.push(raw) });
    expect(splitter.push('Look at this\n```js')).toEqual([]);
    expect(shown).toEqual([]);
    expect(splitter.push('\n')).toMatchObject([{ text: 'Look at this', pause: 'paragraph' }]);
    expect(shown).toEqual(['```js\n']);
    splitter.push('let x;\nle');
    expect(shown).toEqual(['```js\n', 'let x;\n']);
    splitter.end();
    expect(shown).toEqual(['```js\n', 'let x;\n', 'le']);
  });
});

describe('text that is no Markdown', () => {
  const plain = { markdown: false };
  it.each([
    ['# *Not* `a` [link](x) 😀 http://x.y/z', ['# *Not* `a` [link](x) 😀 http://x.y/z']],
    ['One\n\nTwo\n \nThree', ['One', 'Two', 'Three']],
    ['We met the United\nStates there', ['We met the United', 'States there']],
    ['Line one\nLine two', ['Line one Line two']],
    ['```\ncode\n```', ['``` code ```']],
  ])('is said as it stands: %j', (text, expected) => {
    const outcome = split(text, plain);
    expect(outcome.phrases.map((phrase) => phrase.text)).toEqual(expected);
    expect(outcome.unspoken).toBe('');
  });
});

it('says nothing for text without a letter or digit', () => {
  expect(textsOf(' ... !!! \n\n —— 😀 ([')).toEqual([]);
  expect(textsOf(' ... !!! \n\n —— 😀 ([', { markdown: false })).toEqual([]);
});

it('begins with no mark and ends with no opener', () => {
  expect(textsOf('. ) , Hello (\n\n" x\n\n.5 or so “\n\n\u0301y')).toEqual([
    'Hello',
    'x',
    '.5 or so',
    'y',
  ]);
});

it('takes nothing after its end until it is reset', () => {
  const splitter = createPhraseSplitter();
  splitter.push('One. Two');
  expect(splitter.end()).toHaveLength(1);
  expect(splitter.end()).toEqual([]);
  expect(() => splitter.push('x')).toThrow('push after end');
  splitter.reset();
  splitter.push('Again');
  expect(splitter.end()).toMatchObject([{ index: 0, rawStart: 0, text: 'Again', before: '' }]);
});

it.each(['<think>x', '```\nx', 'A ```x', '| a\n|-', '[a](b', 'Hello', '\ud83d', '- '])(
  'forgets all when it is reset in the middle of %j',
  (start) => {
    const fresh = split('\ude00 One, two. Three\n\n    four');
    const splitter = createPhraseSplitter();
    splitter.push(start);
    splitter.reset();
    const phrases = [...splitter.push('\ude00 One, two. Three\n\n    four'), ...splitter.end()];
    expect(phrases).toEqual(fresh.phrases);
  },
);
