import { expect, test } from 'vitest';
import { FrameInspector } from './frame-inspector.ts';

const frame = (body: unknown): string => `data: ${JSON.stringify(body)}\n\n`;
const choice = (finishReason: unknown, index = 0, more: object = {}): object => ({
  choices: [{ index, delta: { content: 'x' }, finish_reason: finishReason }],
  ...more,
});

function inspector(choiceCount = 1): FrameInspector {
  return new FrameInspector(choiceCount, 'canary-key');
}

function inspectAll(texts: string[], choiceCount = 1): FrameInspector {
  const seen = inspector(choiceCount);
  for (const text of texts) {
    const bytes = Buffer.from(text);
    expect(seen.inspect(bytes)).toEqual({ byteCount: bytes.byteLength });
  }
  return seen;
}

const noFinish = expect.objectContaining({ code: 'upstream_protocol' });

test('finds the finish reason and the usage', () => {
  const usage = { prompt_tokens: 3, completion_tokens: 4, total_tokens: 7 };
  const texts = [frame(choice(null)), frame(choice('length')) + frame({ choices: [], usage })];
  expect(inspectAll(texts).finish()).toEqual({
    finishReason: 'length',
    usage: { promptTokens: 3, completionTokens: 4, totalTokens: 7 },
  });
});

test('blanks in the JSON make no difference', () => {
  const text = 'data: { "choices" : [ { "index" : 0 , "finish_reason"\t:  "stop" } ] }\n\n';
  expect(inspectAll([text]).finish()).toEqual({ finishReason: 'stop' });
});

test('of usage with every frame the last counts', () => {
  const usage = (count: number) => ({ usage: { prompt_tokens: 1, completion_tokens: count } });
  const texts = [1, 2, 3].map((count) =>
    frame(choice(count === 3 ? 'stop' : null, 0, usage(count))),
  );
  expect(inspectAll(texts).finish().usage).toEqual({
    promptTokens: 1,
    completionTokens: 3,
    totalTokens: 4,
  });
});

test('every choice needs its finish reason', () => {
  expect(() => inspectAll([frame(choice('stop', 0))], 2).finish()).toThrow(noFinish);
  expect(() => inspectAll([frame(choice('stop', 1))], 1).finish()).toThrow(noFinish);
  const both = [frame(choice('stop', 1)), frame(choice('length', 0))];
  expect(inspectAll(both, 2).finish().finishReason).toBe('length');
});

test.each([null, ''])('a finish reason of %j is none', (value) => {
  expect(() => inspectAll([frame(choice(value))]).finish()).toThrow(noFinish);
});

test.each([
  ['max_tokens', 'length'],
  ['tool_use', 'tool_calls'],
  ['STOP', 'stop'],
  ['eos', 'stop'],
])('the finish reason %s of another server is %s', (theirs, ours) => {
  expect(inspectAll([frame(choice(theirs))]).finish().finishReason).toBe(ours);
});

test.each([
  '"finish_reason":"stop"',
  '{"error":{"message":"x"},"usage":{"prompt_tokens":1}}',
  'finish_reason',
  'error',
  'usage',
  '\\"error\\":{}',
  '"error":"',
])('text is never taken for a key: %s', (content) => {
  const seen = inspectAll([frame({ choices: [{ index: 0, delta: { content } }] })]);
  expect(() => seen.finish()).toThrow(noFinish);
});

test('text of a tool call is never taken for a key', () => {
  const call = { index: 0, function: { arguments: '{"error":"x","finish_reason":"stop"}' } };
  const seen = inspectAll([frame({ choices: [{ index: 0, delta: { tool_calls: [call] } }] })]);
  expect(() => seen.finish()).toThrow(noFinish);
});

test('an error below the top level is a part of the answer', () => {
  const texts = [frame(choice('stop', 0, { moderation: { error: 'none' }, error: null }))];
  expect(inspectAll(texts).finish().finishReason).toBe('stop');
});

test('an error frame ends the block before it, with its words and no key', () => {
  const before = frame(choice(null));
  const error = { error: { message: 'Out of memory, key canary-key.', type: 'server_error' } };
  const result = inspector().inspect(Buffer.from(before + frame(error) + before));
  expect(result.byteCount).toBe(Buffer.byteLength(before));
  expect(result.error).toMatchObject({
    code: 'upstream_error',
    message: 'Out of memory, key ***.',
  });
});

test.each([{ error: 'overloaded' }, { error: { message: 'overloaded' } }])(
  'an error in any form: %j',
  (body) => {
    expect(inspector().inspect(Buffer.from(frame(body))).error?.message).toBe('overloaded');
  },
);

test('a finish reason in a frame that is no JSON is upstream_protocol', () => {
  const text = 'data: {"choices":[{"finish_reason":"stop"}}\n\n';
  expect(() => inspector().inspect(Buffer.from(text))).toThrow(noFinish);
});
