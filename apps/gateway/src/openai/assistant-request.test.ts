import { describe, expect, it } from 'vitest';
import { parseAssistantRequest, withSystemPrompt } from './assistant-request.ts';

const user = { role: 'user', content: 'hi' };
const parse = (value: Record<string, unknown>, systemPrompt?: string) =>
  parseAssistantRequest({ text: JSON.stringify(value), value }, systemPrompt);
const forwarded = (value: Record<string, unknown>, systemPrompt?: string): unknown =>
  JSON.parse(parse(value, systemPrompt).chat.forwardAs('m'));

describe('what the model is asked', () => {
  it('streamed text, with what else the client sent', () => {
    const asked = { messages: [user], model: 'x', temperature: 0.5, seed: 7 };
    const ours = {
      ...{ stream: false, modalities: ['text', 'audio'], audio: { voice: 'a', format: 'wav' } },
      ...{ voice: 'alloy', speed: 1.5, instructions: 'warmly', background: false },
    };
    expect(forwarded({ ...asked, ...ours })).toStrictEqual({ ...asked, model: 'm', stream: true });
    expect(parse({ ...asked, ...ours })).toMatchObject({
      ...{ voice: 'alloy', speed: 1.5, instructions: 'warmly' },
      chat: { audio: undefined, messages: [user], model: 'x' },
    });
  });

  it('the system prompt first; messages put in place of others keep it', () => {
    const { chat } = parse({ messages: [user] }, 'Be brief.');
    const prompt = { role: 'system', content: 'Be brief.' };
    expect(JSON.parse(chat.forwardAs('m'))).toMatchObject({ messages: [prompt, user] });
    const other = { role: 'user', content: 'heard' };
    expect(JSON.parse(chat.forwardAs('m', [other]))).toMatchObject({ messages: [prompt, other] });
  });
});

describe('a system prompt', () => {
  it.each(['system', 'developer'])('stands before the client’s own, in one %s message', (role) => {
    expect(withSystemPrompt([{ role, content: 'Rhyme.' }, user], 'Be brief.')).toStrictEqual([
      { role, content: 'Be brief.\n\nRhyme.' },
      user,
    ]);
  });

  it('stands before the client’s own parts', () => {
    const own = { type: 'text', text: 'Rhyme.', cache_control: {} };
    expect(withSystemPrompt([{ role: 'system', content: [own] }], 'Be brief.')).toStrictEqual([
      { role: 'system', content: [{ type: 'text', text: 'Be brief.\n\n' }, own] },
    ]);
  });

  it('that is not set changes nothing', () => {
    const messages = [user];
    expect(withSystemPrompt(messages, undefined)).toBe(messages);
  });

  it('goes first where a system message comes later', () => {
    const later = { role: 'system', content: 'Rhyme.' };
    const roles = withSystemPrompt([user, later], 'Be brief.').map(({ role }) => role);
    expect(roles).toEqual(['system', 'user', 'system']);
  });
});

it.each([
  ['no messages', {}, 'missing_required_parameter', 'messages'],
  ['more than one answer', { messages: [user], n: 2 }, 'unsupported_value', 'n'],
  ['stream a text', { messages: [user], stream: 'yes' }, 'invalid_type', 'stream'],
  ['a background', { messages: [user], background: true }, 'unsupported_parameter', 'background'],
  ['background a text', { messages: [user], background: 'x' }, 'invalid_type', 'background'],
  ['speed', { messages: [user], speed: 9 }, 'decimal_above_max_value', 'speed'],
  ['voice a number', { messages: [user], voice: 1 }, 'invalid_type', 'voice'],
  [
    'a message',
    { messages: [{ role: 'user' }] },
    'missing_required_parameter',
    'messages[0].content',
  ],
])('refuses %s', (_what, value, code, param) => {
  expect(() => parse(value, 'Be brief.')).toThrow(expect.objectContaining({ code, param }));
});
