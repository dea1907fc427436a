import { openRedis, whenReady } from '@antiphon/shared/queue/redis';
import { SpokenAnswerStore } from '@antiphon/shared/storage/spoken-answer-store';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { resolveAudioAnswers } from './audio-answers.ts';

let server: RedisServer;
let redis: ReturnType<typeof openRedis>;
let store: SpokenAnswerStore;
beforeAll(async () => {
  server = await startRedis();
  redis = openRedis(server.url, { role: 'command', onError: () => undefined });
  await whenReady(redis);
  store = new SpokenAnswerStore(redis);
  await store.keep('default', 'audio_1', 'One.\n```js\n1\n```', 60_000);
  await store.keep('default', 'audio_2', 'Two.', 60_000);
});
afterAll(async () => {
  redis.disconnect();
  await server.close();
});

const resolve = (messages: Record<string, unknown>[], tenantId = 'default') =>
  resolveAudioAnswers(messages, store, tenantId);
const user = { role: 'user', content: 'hi' };
const spoken = (id: unknown) => ({ role: 'assistant', audio: { id } });

it('puts the whole text for each id, and leaves the rest and the original alone', async () => {
  const calls = [{ id: 'c', type: 'function', function: { name: 'f', arguments: '{}' } }];
  const messages = [
    user,
    spoken('audio_2'),
    { ...spoken('audio_1'), content: 'what was shown', name: 'Ann', tool_calls: calls },
    { ...spoken('audio_1'), content: null },
    { role: 'assistant', content: 'text' },
  ];
  const before = structuredClone(messages);
  const whole = 'One.\n```js\n1\n```';
  expect(await resolve(messages)).toStrictEqual([
    user,
    { role: 'assistant', content: 'Two.' },
    { role: 'assistant', content: whole, name: 'Ann', tool_calls: calls },
    { role: 'assistant', content: whole },
    messages[4],
  ]);
  expect(messages).toStrictEqual(before);
});

it('leaves messages without an id untouched', async () => {
  const messages = [user, { role: 'assistant', content: 'x', audio: null }];
  expect(await resolve(messages)).toBe(messages);
});

it("refuses an id that is unknown or another tenant's, and says what to send", async () => {
  const param = 'messages[1].audio.id';
  for (const [id, tenantId] of [
    ['audio_3', 'default'],
    ['audio_1', 'key-2'],
    ['', 'default'],
  ]) {
    await expect(resolve([user, spoken(id)], tenantId)).rejects.toMatchObject({
      code: 'invalid_value',
      param,
      message: `Invalid '${param}': the audio '${id}' is unknown here or has expired. Send the text of that answer as 'content' instead.`,
    });
  }
});

it.each([
  [{ role: 'assistant', audio: {} }, 'missing_required_parameter', 'messages[1].audio.id'],
  [spoken(7), 'invalid_type', 'messages[1].audio.id'],
  [{ role: 'assistant', audio: 'audio_1' }, 'invalid_type', 'messages[1].audio'],
])('%j is %s', async (message, code, param) => {
  await expect(resolve([user, message])).rejects.toMatchObject({ code, param });
});

it('while Redis is away: queue_unavailable', async () => {
  await server.kill();
  await expect(resolve([spoken('audio_1')])).rejects.toMatchObject({ code: 'queue_unavailable' });
  await server.restart();
});
