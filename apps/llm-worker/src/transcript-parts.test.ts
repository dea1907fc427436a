import { TRANSCRIPT_PART } from '@antiphon/shared/jobs/job-catalog';
import { openRedis } from '@antiphon/shared/queue/redis';
import { TranscriptStore } from '@antiphon/shared/storage/transcript-store';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { SILENCE, insertTranscripts } from './transcript-parts.ts';

const TENANT = 'key-1';

let server: RedisServer;
let redis: ReturnType<typeof openRedis>;
let store: TranscriptStore;
beforeAll(async () => {
  server = await startRedis();
  redis = openRedis(server.url, { role: 'patient', onError: () => undefined });
  store = new TranscriptStore(redis);
});
afterAll(async () => {
  redis.disconnect();
  await server.close();
});

const keyOf = (name: string, tenantId = TENANT) =>
  store.keyOf({ tenantId, model: 'm', sha256: name });
const recording = (name: string) => ({ type: TRANSCRIPT_PART, key: keyOf(name) });
const keep = (name: string, text: string) =>
  store.keep(keyOf(name), { text, durationSeconds: 1 }, 60_000);
const text = (content: string) => ({ type: 'text', text: content });
const image = { type: 'image_url', image_url: { url: 'data:image/png;base64,AA' } };

async function insert(content: unknown): Promise<unknown> {
  const body = { model: 'm', messages: [{ role: 'user', name: 'Ann', content }], seed: 7 };
  const inserted = JSON.parse(await insertTranscripts(JSON.stringify(body), store, TENANT));
  const [message] = inserted.messages;
  expect(inserted).toEqual({ ...body, messages: [{ ...body.messages[0], ...message }] });
  return message.content;
}

it('a message of nothing but texts becomes one string', async () => {
  await keep('a', 'What is this?\n');
  await keep('b', 'And "that"?');
  expect(await insert([recording('a')])).toBe('What is this?');
  expect(await insert([text('Listen:'), recording('a'), recording('b'), recording('a')])).toBe(
    'Listen:\nWhat is this?\nAnd "that"?\nWhat is this?',
  );
});

it('a message that has more keeps its parts, in order', async () => {
  await keep('a', 'What is this?');
  expect(await insert([recording('a'), image, text('x')])).toEqual([
    text('What is this?'),
    image,
    text('x'),
  ]);
  const cached = { ...text('long'), cache_control: { type: 'ephemeral' } };
  expect(await insert([cached, recording('a')])).toEqual([cached, text('What is this?')]);
});

it('silence is told as such: an empty text would be refused', async () => {
  await keep('silent', ' ');
  expect(await insert([recording('silent')])).toBe(SILENCE);
  expect(await insert([recording('silent'), image])).toEqual([text(SILENCE), image]);
});

it('leaves every other message as it is', async () => {
  await keep('a', 'Yes.');
  const messages = [
    { role: 'system', content: 'Be brief.' },
    { role: 'user', content: [text('one'), text('two')] },
    { role: 'assistant', content: null, tool_calls: [{ id: 'c', type: 'function' }] },
    { role: 'tool', tool_call_id: 'c', content: '' },
    { role: 'user', content: [recording('a')] },
  ];
  const inserted = await insertTranscripts(JSON.stringify({ messages }), store, TENANT);
  expect(JSON.parse(inserted)).toEqual({
    messages: [...messages.slice(0, 4), { role: 'user', content: 'Yes.' }],
  });
});

it('a transcript that is gone, or of another tenant, is an internal error', async () => {
  const body = (key: string) =>
    JSON.stringify({ messages: [{ role: 'user', content: [{ type: TRANSCRIPT_PART, key }] }] });
  const other = keyOf('a', 'key-2');
  await store.keep(other, { text: 'secret', durationSeconds: 1 }, 60_000);
  await redis.set('antiphon:other', '{"text":"secret","durationSeconds":1}');
  for (const key of [keyOf('unknown'), other, 'antiphon:other']) {
    await expect(insertTranscripts(body(key), store, TENANT)).rejects.toMatchObject({
      code: 'internal_error',
    });
  }
});
