import { describe, expect, it } from 'vitest';
import { readAnswerDeltas } from './answer-delta.ts';

const frame = (...choices: object[]) => `data: ${JSON.stringify({ choices })}\n\n`;
const delta = (fields: object) => frame({ index: 0, delta: fields });
const read = (...frames: string[]) => readAnswerDeltas(Buffer.from(frames.join('')));
const saying = (content: string) => ({ content, shown: undefined });

describe('text', () => {
  it('comes frame by frame, whatever a frame carries besides', () => {
    expect(
      read(
        delta({ role: 'assistant', content: '', refusal: null }),
        delta({ content: 'Hé' }),
        delta({ content: ' 😀\n\n"x"' }),
        frame({ index: 0, delta: {}, finish_reason: 'stop' }),
      ),
    ).toStrictEqual([saying(''), saying('Hé'), saying(' 😀\n\n"x"'), saying('')]);
  });

  it.each([
    ['null', { content: null }],
    ['left out', {}],
    ['no text', { content: [{ type: 'text', text: 'x' }] }],
  ])('that is %s is none', (_what, fields) => {
    expect(read(delta(fields))).toStrictEqual([saying('')]);
  });

  it('of a choice without an index is the first one’s', () => {
    expect(read(frame({ delta: { content: 'x' } }))).toStrictEqual([saying('x')]);
  });

  it('of other choices is not spoken', () => {
    expect(read(frame({ index: 1, delta: { content: 'other' } }))).toEqual([]);
    const both = [1, 0].map((index) => ({ index, delta: { content: `c${index}` } }));
    expect(read(frame(...both))).toStrictEqual([saying('c0')]);
  });

  it('keeps to its bytes in a larger buffer', () => {
    const bytes = Buffer.from(`xx${delta({ content: 'a' })}data: {`);
    expect(readAnswerDeltas(bytes.subarray(2, -7))).toStrictEqual([saying('a')]);
  });
});

describe('what is not text', () => {
  const call = [{ index: 0, id: 'call_1', function: { name: 'f', arguments: '' } }];

  it('is shown, without role and without what is null', () => {
    expect(
      read(
        delta({ role: 'assistant', content: null, tool_calls: call, refusal: null }),
        delta({ reasoning_content: 'Hm', content: 'a' }),
        delta({ refusal: 'No.' }),
      ),
    ).toStrictEqual([
      { content: '', shown: { tool_calls: call } },
      { content: 'a', shown: { reasoning_content: 'Hm' } },
      { content: '', shown: { refusal: 'No.' } },
    ]);
  });

  it.each([
    ['a usage chunk', 'data: {"choices":[],"usage":{"total_tokens":3}}\n\n'],
    ['a chunk without choices', 'data: {"id":"x"}\n\n'],
    ['choices that are null', 'data: {"choices":null}\n\n'],
    ['a choice that is null', 'data: {"choices":[null]}\n\n'],
    ['JSON that is no object', 'data: 7\n\n'],
    ['a comment', ': keepalive\n\n'],
    ['nothing', ''],
  ])('%s says nothing', (_what, text) => {
    expect(read(text).filter(({ content, shown }) => content !== '' || shown)).toEqual([]);
  });

  it('a choice without a delta says nothing', () => {
    expect(read(frame({ index: 0, finish_reason: 'stop' }))).toStrictEqual([saying('')]);
  });
});

it('what is no JSON is an error: text of a spoken answer must be understood', () => {
  expect(() => read(delta({ content: 'a' }), 'data: {"choices":[{"delta"\n\n')).toThrow(
    expect.objectContaining({ code: 'upstream_protocol' }),
  );
});
