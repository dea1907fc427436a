import { expect, test } from 'vitest';
import { type Utterance, UtteranceParser } from './utterance-parser.ts';

function parse(output: string): { utterances: Utterance[]; rest: Utterance | undefined } {
  const parser = new UtteranceParser();
  const utterances = output
    .split('\n')
    .map((line) => parser.line(line))
    .filter((utterance) => utterance !== undefined);
  return { utterances, rest: parser.end() };
}

const entries = (utterance: Utterance | undefined) => utterance?.words.map(({ entry }) => entry);

test('an utterance is over with its </s>', () => {
  const { utterances, rest } = parse(
    'good day\n<s> 0.000 0.310 0.999400\ngood 0.320 0.400 0.009279\nday(2) 0.410 0.620 1.000100\n</s> 0.630 0.690 1.000000\n',
  );
  expect(utterances.map(entries)).toEqual([['<s>', 'good', 'day(2)', '</s>']]);
  expect(utterances[0]?.words[2]).toEqual({
    entry: 'day(2)',
    startSeconds: 0.41,
    endSeconds: 0.62,
    probability: 1.0001,
  });
  expect(rest).toBeUndefined();
});

test('an utterance without </s> is over with the next one or with the output', () => {
  const { utterances, rest } = parse(
    'thigh\n<s> 0.000 0.030 1.000000\nthigh 0.040 0.960 1.000000\none two\n<s> 2.000 2.030 1.000000\none 2.040 2.960 1.000000',
  );
  expect(utterances.map(entries)).toEqual([['<s>', 'thigh']]);
  expect(entries(rest)).toEqual(['<s>', 'one']);
});

test('an utterance without a line of text begins with its <s>', () => {
  const { utterances, rest } = parse(
    '<s> 0 0 1\n<s> 0.000 0.1 1.0\na 0.2 0.3 1e-05\n<s> 0.5 0.6 1.0',
  );
  expect(utterances.map(entries)).toEqual([['<s>', 'a']]);
  expect(utterances[0]?.words[1]?.probability).toBe(1e-5);
  expect(entries(rest)).toEqual(['<s>']);
});

test('empty lines and texts of four words are no words', () => {
  const { utterances, rest } = parse('\none two three four\n\n');
  expect([utterances, rest]).toEqual([[], undefined]);
});
