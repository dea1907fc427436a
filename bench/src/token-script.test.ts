import { expect, test } from 'vitest';
import {
  FINISH_FRAMES,
  ROLE_FRAME,
  chatRequestBody,
  scriptOf,
  tokenFrame,
} from './token-script.ts';

test('a script travels in the request body', () => {
  const script = { tokens: 100, tokensPerSecond: 50 };
  expect(scriptOf(chatRequestBody(script))).toEqual(script);
  expect(scriptOf('{"messages":[]}')).toBeUndefined();
});

test('every frame is one chunk of the chat API', () => {
  const frames = (ROLE_FRAME + tokenFrame(7, 12.3456) + FINISH_FRAMES).split('\n\n');
  expect(frames.slice(3)).toEqual(['data: [DONE]', '']);
  const deltas = frames.slice(0, 3).map((frame) => {
    const chunk = JSON.parse(frame.slice('data: '.length)) as {
      object: string;
      choices: { delta: object; finish_reason: string | null }[];
    };
    expect(chunk.object).toBe('chat.completion.chunk');
    return [chunk.choices[0]?.delta, chunk.choices[0]?.finish_reason];
  });
  expect(deltas).toEqual([
    [{ role: 'assistant', content: '' }, null],
    [{ content: '7@12346 ' }, null],
    [{}, 'stop'],
  ]);
});
