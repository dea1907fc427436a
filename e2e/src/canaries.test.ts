import { once } from 'node:events';
import { gzipSync } from 'node:zlib';
import { type OpenAIServer, startOpenAIServer } from '@antiphon/testing/openai-server';
import type { Fault } from '@antiphon/testing/openai-server/script';
import { until } from '@antiphon/testing/until';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { hum, recordingOf } from './recording.ts';
import { type AppProcess, type Stack, startStack } from './stack.ts';

/** Every secret and everything that somebody said has this word in it. */
const CANARY = /canary/i;
const KEY = 'sk-canary-client-0123456789';
const OTHER_KEY = 'canaryclientwithoutprefix0123';
const ADMIN_KEY = 'canary-admin-0123456789';
const UPSTREAM_KEY = 'canary-upstream-key-0123456789';
const REDIS_PASSWORD = 'canary-redis-0123456789';
/** What no answer may hold either, whoever asks. */
const SECRET = new RegExp(
  [KEY, OTHER_KEY, ADMIN_KEY, UPSTREAM_KEY, REDIS_PASSWORD, 'canary-upstream-words'].join('|'),
);
const ANSWER = ['The canary ', 'sang. ', 'It is a canary-answer.'];

let upstream: OpenAIServer;
let stack: Stack;
let redis: Redis;

beforeAll(async () => {
  upstream = await startOpenAIServer({
    tokens: ANSWER,
    apiKey: UPSTREAM_KEY,
    transcript: {
      text: 'a canary-transcript',
      language: 'english',
      durationSeconds: 1,
      words: [{ word: 'canary-transcript', start: 0, end: 1 }],
      segments: [{ text: 'a canary-transcript', start: 0, end: 1 }],
    },
  });
  stack = await startStack({
    apps: ['gateway', 'llm-worker', 'tts-worker', 'stt-worker'],
    environment: {
      LOG_LEVEL: 'trace',
      'gateway:API_KEYS': `${KEY},${OTHER_KEY}`,
      'gateway:ADMIN_KEY': ADMIN_KEY,
      'gateway:SYSTEM_PROMPT': 'You are a canary-system.',
      'gateway:QUEUE_TIMEOUT_MS': '20000',
      AI_SERVICE: 'openai',
      TTS_SERVICE: 'openai',
      STT_SERVICE: 'openai',
      OPENAI_BASE_URL: upstream.baseUrl,
      OPENAI_API_KEY: UPSTREAM_KEY,
      LLM_OPENAI_MODELS: 'scripted',
      TTS_OPENAI_MODELS: 'scripted-voice',
      TTS_OPENAI_VOICES: 'alloy',
      STT_OPENAI_MODELS: 'scripted-ears',
      DEFAULT_SPEECH_MODEL: 'scripted-voice',
      DEFAULT_TRANSCRIPTION_MODEL: 'scripted-ears',
    },
    models: ['scripted', 'scripted-voice', 'scripted-ears'],
    apiKey: KEY,
    redisPassword: REDIS_PASSWORD,
  });
  const embedded = { TTS_FALLBACK_SERVICE: 'espeak' };
  stack.start('llm-worker', { AI_SERVICE: 'demo' });
  stack.start('tts-worker', { TTS_SERVICE: 'flite', ...embedded });
  stack.start('stt-worker', { STT_SERVICE: 'pocketsphinx' });
  for (const model of ['demo', 'tts-1', 'whisper-1']) await stack.untilModel(model);
  redis = new Redis(stack.redis.url, { password: REDIS_PASSWORD });
  redis.on('error', () => undefined); // its password is changed under it
}, 90_000);
afterAll(async () => {
  redis?.disconnect();
  await stack?.close();
  await upstream?.close();
});

/** Lines of all processes that tell what they must not. */
function leaks(): string[] {
  return stack.processes.flatMap(({ name, output }) =>
    output()
      .split('\n')
      .filter((line) => CANARY.test(line))
      .map((line) => `${name}: ${line}`),
  );
}

interface Answer {
  status: number;
  requestId: string;
  streamId: string;
  body: string;
}

async function ask(path: string, init: RequestInit, key = KEY): Promise<Answer> {
  const headers = new Headers(init.headers);
  headers.set('authorization', `Bearer ${key}`);
  const response = await fetch(`${stack.rootUrl}${path}`, { method: 'POST', ...init, headers });
  const body = await response.text().catch(() => '(cut)');
  expect(body).not.toMatch(SECRET);
  return {
    status: response.status,
    requestId: response.headers.get('x-request-id') ?? '',
    streamId: response.headers.get('x-stream-id') ?? '',
    body,
  };
}
const json = (path: string, body: object | string, key = KEY) =>
  ask(
    path,
    {
      headers: { 'content-type': 'application/json' },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    },
    key,
  );
const said = (text = 'canary-prompt') => ({
  messages: [
    { role: 'system', content: 'You keep a canary-secret.' },
    { role: 'user', content: text },
  ],
});
const chat = (body: object = {}) =>
  json('/v1/chat/completions', { model: 'scripted', ...said(), ...body });
const speech = (body: object = {}) =>
  json('/v1/audio/speech', {
    ...{ model: 'scripted-voice', voice: 'alloy', input: 'The canary-input is said.' },
    ...{ response_format: 'pcm', instructions: 'Like a canary.', ...body },
  });

function transcribe(fields: Record<string, string> = {}, name = 'canary-upload.wav') {
  const form = new FormData();
  form.append('file', new Blob([new Uint8Array(hum(1))]), name);
  const all = { model: 'scripted-ears', prompt: 'canary-hint', ...fields };
  for (const [field, value] of Object.entries(all)) form.append(field, value);
  return ask('/v1/audio/transcriptions', { body: form });
}

/** Of one process, once it has written them. */
function linesOf(requestId: string, name: AppProcess['name']): Record<string, unknown>[] {
  return stack.processes
    .filter((started) => started.name === name)
    .flatMap(({ output }) => output().split('\n'))
    .filter((line) => line.includes(requestId))
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

it('is silent about all that goes well', async () => {
  const audio = { modalities: ['text', 'audio'], audio: { voice: 'alloy', format: 'pcm16' } };
  const heard = [{ role: 'user', content: [recordingOf(hum(1))] }];
  const answers = await Promise.all([
    chat(),
    chat({ stream: true }),
    chat({ stream: true, ...audio }),
    chat({ messages: heard }),
    chat({ model: 'demo', ...said('say: canary-demo') }),
    json('/api/openai', said('canary-assistant')),
    speech(),
    speech({ model: 'tts-1', stream_format: 'sse' }),
    speech({ model: 'tts-1', input: 'Канарейка поёт. Canary.' }),
    transcribe(),
    transcribe({ response_format: 'verbose_json', 'timestamp_granularities[]': 'word' }),
    transcribe({ model: 'whisper-1', stream: 'true' }),
    json('/v1/chat/completions', { model: 'scripted', ...said() }, OTHER_KEY),
  ]);
  expect(answers.map(({ status }) => status)).toStrictEqual(answers.map(() => 200));
  expect(answers[0]?.body).toContain('canary-answer');
  expect(answers[9]?.body).toContain('canary-transcript');
  for (const path of ['/v1/models', '/v1/streams', '/health', '/metrics', '/openapi.json'])
    await ask(path, { method: 'GET' }, path === '/metrics' ? ADMIN_KEY : KEY);
  expect(leaks()).toStrictEqual([]);
}, 60_000);

it('is silent about requests that are refused', async () => {
  const files = ['../../canary.wav', 'canary\u001b.wav', `canary${'y'.repeat(300)}`];
  const answers = await Promise.all([
    json('/v1/chat/completions', '{"canary'),
    json('/v1/chat/completions', { canary: 'canary-prompt' }),
    chat({ temperature: 'canary-value' }),
    chat({ model: 'canary-model' }),
    chat({ messages: [{ role: 'canary-role', content: 'canary-prompt' }] }),
    chat({ messages: [{ role: 'user', content: [recordingOf(Buffer.from('canary-noise'))] }] }),
    speech({ voice: 'canary-voice' }),
    speech({ input: `canary${'y'.repeat(9000)}` }),
    speech({ response_format: 'canary' }),
    transcribe({ response_format: 'canary' }),
    transcribe({ language: 'canary-language' }),
    ...files.map((name) => transcribe({}, name)),
    ask('/v1/audio/transcriptions', {
      headers: { 'content-type': 'multipart/form-data; boundary=canary' },
      body: '--canary\r\ncontent-disposition: form-data; name="canary"\r\n\r\ncanary-field',
    }),
    ask('/v1/chat/completions', {
      headers: { 'content-type': 'application/json', 'content-encoding': 'gzip' },
      body: new Uint8Array(gzipSync('{"canary":1}')),
    }),
    ask('/v1/chat/completions', { headers: { 'content-type': 'text/canary' }, body: 'canary' }),
    json('/v1/chat/completions?key=canary-query', said(), 'canary-wrong-key'),
    ask('/metrics', { method: 'GET' }, 'canary-wrong-admin-key'),
  ]);
  for (const { status } of answers) {
    expect(status).toBeGreaterThanOrEqual(400);
    expect(status).toBeLessThan(500);
  }
  expect(leaks()).toStrictEqual([]);
}, 60_000);

const words = 'canary-upstream-words';
const quoting = { error: { message: `Bad key ${UPSTREAM_KEY}, ${words}`, type: 'x', code: 'y' } };
it.each<[string, Fault, number]>([
  ['401, with the key in its body', { type: 'status', status: 401, body: quoting }, 502],
  ['403 in plain text', { type: 'status', status: 403, body: `${words} ${UPSTREAM_KEY}` }, 502],
  ['500', { type: 'status', status: 500, body: quoting }, 502],
  ['a page', { type: 'status', status: 200, body: `<html>${words}</html>` }, 502],
  ['429', { type: 'status', status: 429, body: quoting, headers: { 'retry-after': '60' } }, 429],
  [
    'what is no JSON',
    {
      type: 'status',
      status: 200,
      body: `${words} {`,
      headers: { 'content-type': 'application/json' },
    },
    502,
  ],
  ['a broken connection', { type: 'cut', by: 'rst', afterTokens: 1 }, 502],
])(
  'is silent about an upstream that answers %s',
  async (_what, fault, status) => {
    upstream.script({ fault });
    try {
      const answers = await Promise.all([
        chat(),
        speech(),
        transcribe(),
        chat({ messages: [{ role: 'user', content: [recordingOf(hum(1, status & 7))] }] }),
      ]);
      // Sound that has begun is cut.
      expect([200, status]).toContain(answers[1]?.status);
      expect([answers[0]?.status, answers[2]?.status]).toStrictEqual([status, status]);
      await chat({ stream: true });
    } finally {
      upstream.resetScripts();
    }
    expect(leaks()).toStrictEqual([]);
  },
  60_000,
);

it('tells a client why its request was refused upstream, and the log only that it was', async () => {
  const message = `No canary-prompt is allowed with ${UPSTREAM_KEY}`;
  upstream.script({ fault: { type: 'status', status: 400, body: { error: { message } } } });
  const refused = await chat({ stream: true });
  upstream.resetScripts();
  expect(refused.status).toBe(400);
  expect(refused.body).toContain('No canary-prompt is allowed with ***');
  upstream.script({ fault: { type: 'error-frame', afterTokens: 1, error: { message } } });
  await chat({ stream: true });
  upstream.resetScripts();
  expect(leaks()).toStrictEqual([]);
  // Whose request it was stands on the lines of both processes.
  const ids = { requestId: refused.requestId, streamId: refused.streamId };
  await until(() => linesOf(refused.requestId, 'gateway').length > 0);
  await until(() => linesOf(refused.requestId, 'llm-worker').length > 0);
  const lines = [
    ...linesOf(refused.requestId, 'gateway'),
    ...linesOf(refused.requestId, 'llm-worker'),
  ];
  for (const line of lines)
    expect(line).toMatchObject({ ...ids, tenantId: expect.stringMatching(/./) });
  expect(linesOf(refused.requestId, 'llm-worker')[0]).toMatchObject({
    jobId: refused.streamId,
    err: { code: 'upstream_rejected', message: 'The engine refused the request.' },
  });
}, 60_000);

it('is silent about what Redis refuses', async () => {
  const all = () => Promise.all([chat(), speech(), transcribe(), chat({ stream: true })]);
  // Out of memory, while requests wait and come.
  upstream.script({ tokens: ANSWER, tokenDelayMs: 300, times: 4 });
  const running = all();
  await until(() => upstream.activeRequests() > 0);
  await redis.config('SET', 'maxmemory', '1mb');
  await Promise.all([running, all()]);
  await redis.config('SET', 'maxmemory', '0');
  upstream.resetScripts();
  // Scripts forgotten; commands no longer allowed.
  await redis.script('FLUSH');
  await all();
  await redis.call('ACL', 'SETUSER', 'default', '-evalsha', '-eval', '-zadd');
  await all();
  await redis.call('ACL', 'SETUSER', 'default', '+@all');
  // Another password, for connections to come.
  await redis.config('SET', 'requirepass', 'canary-other-password');
  await redis.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
  await redis.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
  await until(() => stack.processes.every(({ output }) => output().includes('WRONGPASS')), {
    timeoutMs: 20_000,
  });
  await chat();
  await redis.config('SET', 'requirepass', REDIS_PASSWORD);
  await until(async () => (await chat()).status === 200, { timeoutMs: 20_000 });
  expect(leaks()).toStrictEqual([]);
  expect(stack.processes.map(({ output }) => output()).join('')).toContain('ReplyError');
}, 120_000);

it('is silent about jobs that kill their workers, in Redis too', async () => {
  upstream.script({ path: '/chat/completions', fault: { type: 'no-headers' } });
  const poisoned = chat({ stream: true });
  for (let count = 0; count < 2; count += 1) {
    await until(() => upstream.activeRequests() > 0, { timeoutMs: 20_000 });
    const worker = stack.processes.findLast(
      ({ name, output, child }) =>
        name === 'llm-worker' && output().includes('llm-openai') && child.signalCode === null,
    );
    const next = stack.start('llm-worker');
    await until(() => next.output().includes('"ready"'), { timeoutMs: 10_000 });
    await worker?.stop('SIGKILL');
    await until(() => upstream.activeRequests() === 0);
  }
  expect((await poisoned).body).toContain('stream_interrupted');
  upstream.resetScripts();
  const failed = 'bull:llm-openai:failed';
  await until(async () => (await redis.zcard(failed)) === 1, { timeoutMs: 20_000 });
  const kept = async () => {
    const ids = await redis.zrange(failed, '0', '-1');
    return JSON.stringify(
      await Promise.all(ids.map((id) => redis.hgetall(`bull:llm-openai:${id}`))),
    );
  };
  await until(async () => !CANARY.test(await kept()));
  expect(await kept()).toContain('requestId');
  expect(leaks()).toStrictEqual([]);
}, 120_000);

it('is silent about a start that fails', async () => {
  const wrong = `redis://:canary-wrong@127.0.0.1:${stack.redis.port}`;
  const environments: Record<string, string>[] = [
    { REDIS_URL: wrong },
    { REDIS_URL: `canary://${REDIS_PASSWORD}` },
    { LOG_LEVEL: 'canary' },
  ];
  for (const name of ['gateway', 'llm-worker', 'tts-worker', 'stt-worker'] as const) {
    const refused = environments.map(async (environment) => {
      const started = stack.start(name, { ...environment, PORT: '0' });
      await once(started.child, 'close'); // behind it, all of its output is there
      expect(started.child.exitCode).toBe(1);
      expect(started.output()).toMatch(/REDIS_URL|LOG_LEVEL/);
    });
    await Promise.all(refused);
  }
  expect(leaks()).toStrictEqual([]);
}, 60_000);

it('is silent to the end', async () => {
  await Promise.all(stack.processes.map((started) => started.stop('SIGTERM')));
  // Lines are written in the background: now all of them are there.
  expect(leaks()).toStrictEqual([]);
}, 60_000);
