import { type OpenAIServer, startOpenAIServer } from '@antiphon/testing/openai-server';
import { until } from '@antiphon/testing/until';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { readSpokenStream, soundOf } from './spoken-stream.ts';
import { type AppProcess, type Stack, startStack } from './stack.ts';

/** A voice far away that is paid by the call: the calls are counted. */
let upstream: OpenAIServer;
let stack: Stack;
let redis: Redis;
let ttsWorkers: AppProcess[] = [];

const KEYS = ['the-key-of-the-first-tenant', 'the-key-of-the-second-tenant'] as const;
const SENTENCES = [
  'Good morning to all of you.',
  'This sentence is the second one of them.',
  'The last sentence of this answer is the third.',
];

beforeAll(async () => {
  const tokens = SENTENCES.join(' ').match(/\s*\S+/g) ?? [];
  upstream = await startOpenAIServer({ tokens, usage: 'asked' });
  stack = await startStack({
    apps: ['gateway', 'llm-worker'],
    environment: {
      ...{ AI_SERVICE: 'openai', TTS_SERVICE: 'openai', OPENAI_BASE_URL: upstream.baseUrl },
      ...{ LLM_OPENAI_MODELS: 'scripted', TTS_OPENAI_MODELS: 'scripted-tts' },
      API_KEYS: KEYS.join(','),
    },
    models: ['scripted'],
    apiKey: KEYS[0],
  });
  redis = new Redis(stack.redis.url);
  await speakWith({ SPEECH_CACHE: 'tenant' });
}, 60_000);
afterEach(() => upstream.resetScripts());
afterAll(async () => {
  redis?.disconnect();
  await stack?.close();
  await upstream?.close();
});

/** Two workers, so that one has from the other what it did not say itself. */
async function speakWith(environment: Record<string, string>): Promise<void> {
  await Promise.all(ttsWorkers.map((worker) => worker.stop()));
  ttsWorkers = [1, 2].map(() => stack.start('tts-worker', { CONCURRENCY: '1', ...environment }));
  await stack.untilModel('scripted-tts');
}

const calls = () => upstream.requestsTo('/audio/speech').length;

interface SpeakOptions {
  key?: string;
  body?: Record<string, unknown>;
}

async function speak(input: string, { key = KEYS[0], body = {} }: SpeakOptions = {}) {
  const before = calls();
  const response = await fetch(`${stack.baseUrl}/audio/speech`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${key}` },
    body: JSON.stringify({ input, voice: 'alloy', response_format: 'pcm', ...body }),
  });
  const sound = Buffer.from(await response.arrayBuffer());
  expect(response.status).toBe(200);
  const { phrases } = await lookAt(response.headers.get('x-stream-id') ?? '', key);
  return { sound, cache: response.headers.get('x-cache'), phrases, calls: calls() - before };
}

async function lookAt(streamId: string, key: string) {
  const headers = { authorization: `Bearer ${key}` };
  const response = await fetch(`${stack.baseUrl}/streams/${streamId}`, { headers });
  return (await response.json()) as {
    phrases: { total: number; spoken: number; cached: number };
    status: string;
  };
}

/** A phrase is kept right behind its end: a request that follows at once may come before it. */
async function speakUntilKept(input: string, options?: SpeakOptions) {
  const before = await keptCount();
  const first = await speak(input, options);
  await until(async () => (await keptCount()) >= before + first.calls);
  return first;
}
const keptCount = () => redis.zcard('antiphon:{speech-cache}:uses');

describe('what a key has had said before', () => {
  it('needs no engine, and sounds the same', async () => {
    const text = 'The museum opens at nine. It closes at five, except on Mondays and on Tuesdays.';
    const first = await speakUntilKept(text);
    expect(first).toMatchObject({ cache: 'miss', calls: first.phrases.total });
    expect(first.phrases).toMatchObject({ cached: 0, spoken: first.phrases.total });
    for (let count = 0; count < 4; count += 1) {
      const again = await speak(text);
      expect(again).toMatchObject({ cache: 'hit', calls: 0 });
      expect(again.phrases).toEqual({ ...first.phrases, cached: first.phrases.total });
      expect(again.sound.equals(first.sound)).toBe(true);
    }
  });

  it('is heard while the server of the voice is down', async () => {
    const text = 'We are sorry, something went wrong.';
    const first = await speakUntilKept(text);
    upstream.script({ path: '/audio/speech', fault: { type: 'status', status: 503 } });
    const again = await speak(text);
    expect(again).toMatchObject({ cache: 'hit', calls: 0 });
    expect(again.sound.equals(first.sound)).toBe(true);
  });

  it('is known phrase by phrase: the header tells of the first, the stream counts all', async () => {
    const opening = 'Thank you for calling the harbour office today.';
    const known = await speakUntilKept(`${opening}\n\nAll of our boats are at sea.`);
    expect(known.phrases.total).toBe(2);
    const other = await speakUntilKept(`${opening}\n\nYour boat is number seventeen in the line.`);
    expect(other).toMatchObject({ cache: 'hit', calls: 1 });
    expect(other.phrases).toMatchObject({ total: 2, spoken: 2, cached: 1 });
    const ending = await speak('Welcome back to the harbour.\n\nAll of our boats are at sea.');
    expect(ending).toMatchObject({ cache: 'miss', calls: 1 });
    expect(ending.phrases).toMatchObject({ total: 2, spoken: 2, cached: 1 });
  });

  it('is another thing at another speed, in another voice, to another key', async () => {
    const text = 'The door is on the left.';
    await speakUntilKept(text);
    expect(await speakUntilKept(text, { body: { speed: 1.25 } })).toMatchObject({ calls: 1 });
    expect(await speakUntilKept(text, { body: { voice: 'echo' } })).toMatchObject({ calls: 1 });
    const theirs = await speakUntilKept(text, { key: KEYS[1] });
    expect(theirs).toMatchObject({ cache: 'miss', calls: 1 });
    expect(await speak(text, { key: KEYS[1] })).toMatchObject({ cache: 'hit', calls: 0 });
    expect(await speak(text)).toMatchObject({ cache: 'hit', calls: 0 });
  });

  it('is not kept when its client left in the middle', async () => {
    const text = 'This sentence is long enough to leave while somebody is still saying it.';
    upstream.script({ path: '/audio/speech', tokenDelayMs: 100, times: 1 });
    const before = await keptCount();
    const leave = new AbortController();
    const response = await fetch(`${stack.baseUrl}/audio/speech`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${KEYS[0]}` },
      body: JSON.stringify({ input: text, voice: 'alloy', response_format: 'pcm' }),
      signal: leave.signal,
    });
    await response.body?.getReader().read();
    leave.abort();
    const streamId = response.headers.get('x-stream-id') ?? '';
    await until(async () => (await lookAt(streamId, KEYS[0])).status === 'cancelled');
    await until(() => upstream.activeRequests() === 0);
    expect(await speakUntilKept(text)).toMatchObject({ cache: 'miss', calls: 1 });
    expect(await keptCount()).toBe(before + 1);
  });

  it('is heard in a chat as well', async () => {
    const read = () =>
      readSpokenStream(stack.baseUrl, { headers: { authorization: `Bearer ${KEYS[0]}` } });
    const before = await keptCount();
    const first = await read();
    await until(async () => (await keptCount()) === before + SENTENCES.length);
    const spoken = calls();
    const again = await read();
    expect(calls()).toBe(spoken);
    expect(again).toMatchObject({ done: true, transcript: SENTENCES.join(' ') });
    expect(soundOf(again).equals(soundOf(first))).toBe(true);
    expect((await lookAt(again.streamId, KEYS[0])).phrases).toMatchObject({ total: 3, cached: 3 });
  });
});

it('SPEECH_CACHE=shared: one for all keys', async () => {
  await speakWith({ SPEECH_CACHE: 'shared' });
  const text = 'All keys hear the same announcement.';
  const first = await speakUntilKept(text);
  const theirs = await speak(text, { key: KEYS[1] });
  expect(theirs).toMatchObject({ cache: 'hit', calls: 0 });
  expect(theirs.sound.equals(first.sound)).toBe(true);
});

it('off, as it is unless asked for: nothing is kept, and no header tells of it', async () => {
  await speakWith({});
  const text = 'Nobody remembers what I say.';
  const before = await keptCount();
  for (let count = 0; count < 2; count += 1) {
    const spoken = await speak(text);
    expect(spoken).toMatchObject({ cache: null, calls: 1 });
    expect(spoken.phrases.cached).toBe(0);
  }
  expect(await keptCount()).toBe(before);
});
