import { expect, it } from 'vitest';
import { mergeDelta } from './merged-message.ts';

function merge(...deltas: Record<string, unknown>[]) {
  const message: Record<string, unknown> = {};
  for (const delta of deltas) mergeDelta(message, delta);
  return message;
}

it('appends texts and keeps the last of everything else', () => {
  expect(merge({ content: 'a', x: 1 }, { content: 'b', refusal: 'no' }, { x: 2 })).toEqual({
    content: 'ab',
    refusal: 'no',
    x: 2,
  });
});

it('puts tool calls together by index, whatever their order', () => {
  const call = (index: number, id: string, name: string) => ({
    tool_calls: [{ index, id, type: 'function', function: { name, arguments: '' } }],
  });
  const more = (index: number, text: string) => ({
    tool_calls: [{ index, function: { arguments: text } }],
  });
  const message = merge(
    call(0, 'a', 'f'),
    call(1, 'b', 'g'),
    ...[more(1, '{"y"'), more(0, '{}'), more(1, ':2}')],
  );
  expect(message['tool_calls']).toEqual([
    { id: 'a', type: 'function', function: { name: 'f', arguments: '{}' } },
    { id: 'b', type: 'function', function: { name: 'g', arguments: '{"y":2}' } },
  ]);
});
