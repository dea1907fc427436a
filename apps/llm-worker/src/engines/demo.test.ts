import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  chatRequest,
  describeAIContract,
  never,
  readAnswer,
} from '@antiphon/testing/contracts/ai-service-contract';
import { PATIENCE } from '@antiphon/testing/until';
import type { AIService } from '@antiphon/shared/services/ai-service';
import { demo } from './demo.ts';

const create = (tokensPerSecond?: number): Promise<AIService> =>
  demo.createFrom(
    tokensPerSecond === undefined ? {} : { LLM_DEMO_TOKENS_PER_SECOND: String(tokensPerSecond) },
    { concurrency: 256, warn: () => undefined },
  );

describeAIContract('demo', {
  create: () => create(100),
  shortPrompt: 'say: The quick brown fox jumps over the lazy dog.',
  longPrompt: `say: ${'on and on '.repeat(500)}`,
});

describe('demo', () => {
  let service: AIService;
  beforeAll(async () => {
    service = await create(0);
  });
  afterAll(() => service.close());
  const ask = (prompt: string, more: object = {}) =>
    readAnswer(service.streamChat(chatRequest(prompt, { ...more }), never));
  const askMessages = (messages: unknown[]) => {
    const requestJson = JSON.stringify({ model: 'demo', messages });
    return readAnswer(service.streamChat({ requestJson, stream: true, choiceCount: 1 }, never));
  };

  test('announces itself first, then the names it stands in for', async () => {
    const { models } = await service.listModels(never);
    expect(models).toEqual(['demo', 'gpt-4o', 'gpt-4o-mini', 'gpt-4o-audio-preview', 'gpt-audio']);
  });

  test('tokens joined are the answer, and are counted', async () => {
    const { events, text } = await ask(
      'say: one two  three\n\n😀😀😀😀😀😀😀😀😀 antidisestablishment',
    );
    expect(text).toBe('one two  three\n\n😀😀😀😀😀😀😀😀😀 antidisestablishment');
    const tokenCount = events.length - 1;
    expect(tokenCount).toBeGreaterThan(6);
    expect(events.at(-1)).toMatchObject({ usage: { completionTokens: tokenCount } });
  });

  test.each(['max_tokens', 'max_completion_tokens'])(
    '%s ends the answer by length',
    async (name) => {
      const { text, events } = await ask('say: a b c d e', { [name]: 3 });
      expect(text).toBe('a b c');
      expect(events.at(-1)).toMatchObject({
        finishReason: 'length',
        usage: { completionTokens: 3 },
      });
      const enough = await ask('say: a b c', { [name]: 3 });
      expect(enough.events.at(-1)).toMatchObject({ finishReason: 'stop' });
    },
  );

  test('stop sequences end the answer before them', async () => {
    expect((await ask('say: a b c d', { stop: [' d', ' c'] })).text).toBe('a b');
    expect((await ask('say: a b c d', { stop: 'b' })).text).toBe('a ');
    const { events } = await ask('say: a', { stop: null });
    expect(events.at(-1)).toMatchObject({ finishReason: 'stop' });
  });

  test('answers as a JSON object when asked to', async () => {
    const { text } = await ask('what is 6 times 7?', { response_format: { type: 'json_object' } });
    expect(JSON.parse(text)).toEqual({ answer: '6 times 7 is 42.' });
  });

  test.each([
    ['n', { n: 2 }, 'unsupported_value'],
    ['tools', { tools: [{ type: 'function' }] }, 'unsupported_parameter'],
    ['functions', { functions: [{ name: 'x' }] }, 'unsupported_parameter'],
    ['logprobs', { logprobs: true }, 'unsupported_parameter'],
    ['response_format', { response_format: { type: 'json_schema' } }, 'unsupported_value'],
    ['max_tokens', { max_tokens: 'many' }, 'invalid_type'],
    ['max_tokens', { max_tokens: 0 }, 'integer_below_min_value'],
  ])('refuses %s (%j) by name', async (param, more, code) => {
    await expect(ask('Hello', more)).rejects.toMatchObject({ code, param });
  });

  test('accepts what asks for nothing', async () => {
    const nothing = { n: 1, tools: [], functions: null, response_format: { type: 'text' } };
    const none = { tools: [{ type: 'function' }], tool_choice: 'none', logprobs: false };
    for (const more of [nothing, none, { temperature: 2, seed: 7, logit_bias: {} }]) {
      expect((await ask('say: ok', more)).text).toBe('ok');
    }
  });

  test('joins text parts and says which other part it cannot take', async () => {
    const text = { type: 'text', text: 'say: parts' };
    const content = [text, { type: 'text', text: 'joined' }];
    expect((await askMessages([{ role: 'user', content }])).text).toBe('parts\njoined');
    const image = { type: 'image_url', image_url: { url: 'data:,' } };
    await expect(
      askMessages([
        { role: 'system', content: 'x' },
        { role: 'user', content: [text, image] },
      ]),
    ).rejects.toMatchObject({ code: 'unsupported_value', param: 'messages[1].content[1]' });
  });

  test('answers the last user message of a conversation', async () => {
    const { text } = await askMessages([
      { role: 'system', content: 'Be brief.' },
      { role: 'user', content: [{ type: 'image_url' }, { type: 'text', text: 'say: first' }] },
      { role: 'assistant', content: null },
      { role: 'user', content: 'say: second' },
      { role: 'assistant', content: 'Well' },
    ]);
    expect(text).toBe('second');
  });

  test('a broken body is invalid_json', async () => {
    for (const requestJson of ['{', 'null', '[]', '7']) {
      const request = { requestJson, stream: true, choiceCount: 1 };
      await expect(readAnswer(service.streamChat(request, never))).rejects.toMatchObject({
        code: 'invalid_json',
      });
    }
  });

  test('keeps its pace: 60 tokens a second unless told otherwise', async () => {
    const slow = await create();
    const beganMs = performance.now();
    await readAnswer(slow.streamChat(chatRequest(`say: ${'a '.repeat(31)}`), never));
    const tookMs = performance.now() - beganMs;
    expect(tookMs).toBeGreaterThan(480);
    expect(tookMs).toBeLessThan(1000 * PATIENCE);
    await slow.close();
  });

  test('a flood of tokens lets others have their turn', async () => {
    let turns = 0;
    const timer = setInterval(() => {
      turns += 1;
    }, 1);
    await ask(`say: ${'word '.repeat(100_000)}`);
    clearInterval(timer);
    expect(turns).toBeGreaterThan(5);
  });

  test('a wrong rate is told by name', async () => {
    const context = { concurrency: 1, warn: () => undefined };
    await expect(demo.createFrom({ LLM_DEMO_TOKENS_PER_SECOND: 'fast' }, context)).rejects.toThrow(
      'LLM_DEMO_TOKENS_PER_SECOND',
    );
  });
});
