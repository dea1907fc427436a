import { readFile } from 'node:fs/promises';
import { until } from '@antiphon/testing/until';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { readSpokenStream, soundOf } from './spoken-stream.ts';
import { type Stack, startStack } from './stack.ts';

const PASSWORD = 'password-of-the-acl-test';

let stack: Stack;
let admin: Redis;

/** The line that docs/operations.md tells operators to use. */
async function documentedRules(): Promise<string[]> {
  const guide = await readFile(new URL('../../docs/operations.md', import.meta.url), 'utf8');
  const line = /^ACL SETUSER antiphon (.+)$/m.exec(guide)?.[1];
  if (line === undefined) throw new Error('docs/operations.md has no ACL line');
  return line.replace('>choose-a-password', `>${PASSWORD}`).split(' ');
}

beforeAll(async () => {
  stack = await startStack({ apps: [], models: [] });
  admin = new Redis(stack.redis.url);
  await admin.call('ACL', 'SETUSER', 'antiphon', ...(await documentedRules()));
  const environment = {
    REDIS_URL: `redis://antiphon:${PASSWORD}@127.0.0.1:${stack.redis.port}`,
    SPEECH_CACHE: 'tenant',
    ...{ RATE_LIMIT_REQUESTS_PER_MINUTE: '1000', RATE_LIMIT_CHARACTERS_PER_MINUTE: '100000' },
    ...{ RATE_LIMIT_AUDIO_SECONDS_PER_MINUTE: '1000', MAX_STREAMS_PER_KEY: '20' },
  };
  for (const app of ['gateway', 'llm-worker', 'tts-worker', 'stt-worker'] as const)
    stack.start(app, environment);
  for (const model of ['demo', 'tts-1', 'whisper-1']) await stack.untilModel(model);
}, 60_000);
afterAll(async () => {
  admin?.disconnect();
  await stack?.close();
});

const post = (path: string, body: object, headers: Record<string, string> = {}) =>
  fetch(`${stack.baseUrl}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  });

async function speak(): Promise<Buffer> {
  const response = await post('/audio/speech', { input: 'Good morning.', voice: 'alloy' });
  expect(response.status).toBe(200);
  return Buffer.from(await response.arrayBuffer());
}

it('everything works with the rights that the guide gives', async () => {
  const answer = await readSpokenStream(stack.baseUrl, { prompt: 'What is six times seven?' });
  expect(answer).toMatchObject({ status: 200, done: true, errors: [], phraseErrors: [] });
  expect(soundOf(answer).length).toBeGreaterThan(10_000);
  const sound = await speak();
  await until(async () => (await admin.exists('antiphon:{speech-cache}:uses')) === 1);
  expect((await speak()).equals(sound)).toBe(true);
  const form = new FormData();
  form.set('file', new Blob([Uint8Array.from(sound)]), 'speech.mp3');
  form.set('model', 'whisper-1');
  const written = await fetch(`${stack.baseUrl}/audio/transcriptions`, {
    method: 'POST',
    body: form,
  });
  expect(await written.json()).toMatchObject({ text: expect.stringMatching(/good morning/i) });
  const data = sound.toString('base64');
  const question = [{ type: 'input_audio', input_audio: { data, format: 'mp3' } }];
  const heard = await post('/chat/completions', {
    messages: [{ role: 'user', content: question }],
  });
  expect(heard.status).toBe(200);
  const once = { stream: true, messages: [{ role: 'user', content: 'What is nine times nine?' }] };
  const [first, same] = await Promise.all(
    [1, 2].map(() => post('/chat/completions', once, { 'idempotency-key': 'acl' })),
  );
  expect(await first?.text()).toBe(await same?.text());
  const streamId = first?.headers.get('x-stream-id') ?? '';
  const again = await fetch(`${stack.baseUrl}/streams/${streamId}/events`);
  expect(await again.text()).toContain('81');
  const stopped = await post('/streams/cancel', {});
  expect(stopped.status).toBe(200);
  // Jobs that are given back, a worker that goes, another one that comes.
  const worker = stack.processes.find(({ name }) => name === 'tts-worker');
  await worker?.stop('SIGKILL');
  const redisUrl = `redis://antiphon:${PASSWORD}@127.0.0.1:${stack.redis.port}`;
  stack.start('tts-worker', { REDIS_URL: redisUrl });
  expect((await speak()).length).toBeGreaterThan(1000);
  const denied = stack.processes.flatMap(({ output }) => output().match(/NOPERM.*/g) ?? []);
  expect(denied).toEqual([]);
  expect(await admin.call('ACL', 'LOG')).toEqual([]);
}, 60_000);

it('and nothing else may be seen or done with them', async () => {
  const url = `redis://antiphon:${PASSWORD}@127.0.0.1:${stack.redis.port}`;
  const redis = new Redis(url);
  await admin.set('other', 'secret');
  const refused = [
    ['GET', 'other'],
    ['CONFIG', 'GET', 'requirepass'],
    ['KEYS', '*'],
    ['FLUSHALL'],
    ['ACL', 'LIST'],
    ['MONITOR'],
    ['SHUTDOWN'],
    ['REPLICAOF', 'localhost', '1'],
    ['SUBSCRIBE', 'other'],
  ];
  const answers = await Promise.all(
    refused.map(([command = '', ...args]) =>
      redis.call(command, ...args).then(
        () => `${command} is allowed`,
        (error: Error) => error.message.split(' ', 1)[0],
      ),
    ),
  );
  redis.disconnect();
  expect(answers).toEqual(refused.map(() => 'NOPERM'));
});
