import { expectUnbroken } from '@antiphon/testing/invariant';
import { type OpenAIServer, startOpenAIServer } from '@antiphon/testing/openai-server';
import { PATIENCE, until } from '@antiphon/testing/until';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { type Stack, startStack } from './stack.ts';
import { brokenLogs, openStreams } from './stream-logs.ts';

const KEY = 'key-of-tenant-a-0123456789';
const OTHER_KEY = 'key-of-tenant-b-0123456789';
const NO_STREAM = `s${'0'.repeat(32)}`;
const SLOTS = 16;
const STOPS = 60;
/** No claim about speed, but an end that only a deadline or a lock brought would be later. */
const AT_ONCE_MS = 1000;

interface StreamObject {
  id: string;
  status: string;
  stage: string;
}

/** A request whose answer is being read. */
interface Running {
  streamId: string;
  status: number;
  /** What came so far. */
  body: () => string;
  /** When the last byte came, the end of the answer or its cut; `performance.now()`. */
  over: Promise<{ overAtMs: number; broken: boolean }>;
}

let upstream: OpenAIServer;
let stack: Stack;
let redis: Redis;

beforeAll(async () => {
  upstream = await startOpenAIServer({ tokenDelayMs: 10 });
  stack = await startStack({
    apps: ['gateway', 'llm-worker', 'tts-worker'],
    environment: {
      'gateway:API_KEYS': `${KEY},${OTHER_KEY}`,
      AI_SERVICE: 'openai',
      TTS_SERVICE: 'openai',
      OPENAI_BASE_URL: upstream.baseUrl,
      LLM_OPENAI_MODELS: 'scripted',
      TTS_OPENAI_MODELS: 'scripted-voice',
      TTS_OPENAI_VOICES: 'alloy',
      CONCURRENCY: String(SLOTS),
    },
    models: ['scripted', 'scripted-voice'],
    apiKey: KEY,
  });
  redis = new Redis(stack.redis.url);
}, 60_000);
afterEach(async () => {
  await ask('POST', '/api/stop_all');
  await ask('POST', '/api/stop_all', OTHER_KEY);
  await until(() => upstream.activeRequests() === 0, { what: 'no engine call' });
  await until(async () => (await leftovers()).length === 0, { what: 'no job, no open stream' });
  await until(async () => (await openStreams(redis)).length === 0, { what: 'no open stream' });
  expectUnbroken(await brokenLogs(redis));
  upstream.resetScripts();
});
afterAll(async () => {
  redis?.disconnect();
  await stack?.close();
  await upstream?.close();
});

const ask = (method: string, path: string, key = KEY) =>
  fetch(`${stack.rootUrl}${path}`, { method, headers: { authorization: `Bearer ${key}` } });
const cancel = (streamId: string, key = KEY) => ask('POST', `/v1/streams/${streamId}/cancel`, key);
const look = async (streamId: string) =>
  (await (await ask('GET', `/v1/streams/${streamId}`)).json()) as StreamObject;
const openIds = async (key = KEY) => {
  const response = await ask('GET', '/v1/streams', key);
  return ((await response.json()) as { data: StreamObject[] }).data.map(({ id }) => id);
};

/** Jobs in any queue, and tenants with something open. */
async function leftovers(): Promise<string[]> {
  const keys = await redis.keys('*');
  return keys.filter((key) => /^bull:.+:s[0-9a-f]{32}|^antiphon:tenant:/.test(key));
}

/** Resolves with the first bytes of the answer, or with its error. */
async function run(path: string, body: object, key = KEY): Promise<Running> {
  const response = await fetch(`${stack.baseUrl}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${key}` },
    body: JSON.stringify(body),
  });
  let received = '';
  const read = async () => {
    let broken = false;
    try {
      for await (const part of response.body ?? [])
        received += Buffer.from(part).toString('latin1');
    } catch {
      broken = true;
    }
    return { overAtMs: performance.now(), broken };
  };
  const over = read();
  await Promise.race([over, until(() => received.length > 0)]);
  const streamId = response.headers.get('x-stream-id') ?? '';
  return { streamId, status: response.status, body: () => received, over };
}
const chat = (body: object = {}, key = KEY) => {
  const messages = [{ role: 'user', content: 'go' }];
  return run('/chat/completions', { model: 'scripted', stream: true, messages, ...body }, key);
};
const speech = () =>
  run('/audio/speech', { model: 'scripted-voice', input: 'Hello there.', response_format: 'pcm' });
const errorCode = (body: string) =>
  (JSON.parse(body.split('data: ').at(-1) ?? '') as { error: { code: string } }).error.code;

function percentile(values: number[], share: number): number {
  const sorted = values.toSorted((one, other) => one - other);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}
const summary = (values: number[]) =>
  `p50 ${percentile(values, 0.5).toFixed(1)} ms, p95 ${percentile(values, 0.95).toFixed(1)} ms`;

/** Starts and stops again and again; ms from each stop to the client's last byte and to the upstream's. */
async function measureStops(begin: () => Promise<Running>, path: string) {
  const lastByteMs: number[] = [];
  const upstreamMs: number[] = [];
  for (let count = 0; count < STOPS; count += 1) {
    const running = await begin();
    const call = upstream.requestsTo(path).at(-1);
    const stoppedAtMs = performance.now();
    const [stopped, { overAtMs }] = await Promise.all([cancel(running.streamId), running.over]);
    expect(((await stopped.json()) as StreamObject).status).toBe('cancelled');
    lastByteMs.push(overAtMs - stoppedAtMs);
    const closedAtMs = await until(() => call?.closedAtMs, { intervalMs: 2 });
    upstreamMs.push(closedAtMs - stoppedAtMs);
    expect(call?.abortedAtMs).toBeDefined();
  }
  console.info(
    `${STOPS} stops of ${path}: to the last byte ${summary(lastByteMs)}; to the upstream's close ${summary(upstreamMs)}`,
  );
  expect(percentile(lastByteMs, 0.95)).toBeLessThan(AT_ONCE_MS * PATIENCE);
  expect(percentile(upstreamMs, 0.95)).toBeLessThan(AT_ONCE_MS * PATIENCE);
}

it('ends running chats at once, for the client and for the upstream, while others go on', async () => {
  upstream.script({ tokens: 100_000 });
  const others = await Promise.all(Array.from({ length: 6 }, () => chat({}, OTHER_KEY)));
  await measureStops(() => chat(), '/chat/completions');
  const before = others.map(({ body }) => body().length);
  await until(() => others.every(({ body }, index) => body().length > (before[index] ?? 0)));
  expect((await openIds(OTHER_KEY)).length).toBe(others.length);
}, 120_000);

it('ends running speech at once: its client sees a cut', async () => {
  upstream.script({ audioSeconds: 10, tokenDelayMs: 50 });
  await measureStops(() => speech(), '/audio/speech');
  const last = await speech();
  await cancel(last.streamId);
  expect((await last.over).broken).toBe(true);
}, 120_000);

it('ends a chat that is spoken: its model and its voice', async () => {
  const tokens = Array.from({ length: 5000 }, () => 'This is one more sentence. ');
  upstream.script({ path: '/chat/completions', tokens });
  upstream.script({ path: '/audio/speech', audioSeconds: 60, tokenDelayMs: 50 });
  const audio = { voice: 'alloy', format: 'pcm16' };
  const running = await chat({ modalities: ['text', 'audio'], audio });
  await until(() => upstream.activeRequests() >= 2, { what: 'model and voice at work' });
  await until(async () => (await look(running.streamId)).stage === 'speaking');
  await cancel(running.streamId);
  await running.over;
  expect(errorCode(running.body())).toBe('stream_cancelled');
  expect(running.body()).not.toContain('[DONE]');
  await until(() => upstream.activeRequests() === 0, { what: 'both engine calls ended' });
}, 60_000);

it('is one error frame behind what came, and the same answer every time', async () => {
  upstream.script({ tokens: 100_000 });
  const running = await chat();
  const first = await (await cancel(running.streamId)).text();
  expect(JSON.parse(first)).toMatchObject({ status: 'cancelled', stage: 'ended', kind: 'chat' });
  expect(await running.over).toMatchObject({ broken: false });
  expect(running.body().match(/"error"/g)).toHaveLength(1);
  expect(errorCode(running.body())).toBe('stream_cancelled');
  expect(await (await cancel(running.streamId)).text()).toBe(first);
  expect(await (await ask('GET', `/v1/streams/${running.streamId}`)).text()).toBe(first);
});

it('reaches a chat that waits for a free slot, and its job leaves the queue', async () => {
  upstream.script({ tokens: 100_000 });
  await Promise.all(Array.from({ length: SLOTS }, () => chat()));
  const known = new Set(await openIds());
  const waiting = chat();
  const streamId = await until(async () => (await openIds()).find((id) => !known.has(id)));
  expect((await look(streamId)).stage).toBe('queued');
  const stoppedAtMs = performance.now();
  await cancel(streamId);
  const { status, body, over } = await waiting;
  expect((await over).overAtMs - stoppedAtMs).toBeLessThan(AT_ONCE_MS * PATIENCE);
  expect(status).toBe(499);
  expect(errorCode(body())).toBe('stream_cancelled');
  await until(async () => (await redis.keys(`bull:*:${streamId}`)).length === 0);
  expect((await openIds()).length).toBe(SLOTS);
}, 60_000);

it('leaves a finished one finished; unknown and other keys’ ones are the same 404', async () => {
  upstream.script({ tokens: 3, times: 1 });
  const done = await chat();
  await done.over;
  expect(await (await cancel(done.streamId)).json()).toMatchObject({ status: 'done' });
  upstream.script({ tokens: 100_000 });
  const running = await chat();
  const bodies = new Set<string>();
  for (const streamId of [running.streamId, done.streamId, NO_STREAM]) {
    for (const path of [`/v1/streams/${streamId}/cancel`, `/api/stop/${streamId}`]) {
      const response = await ask('POST', path, OTHER_KEY);
      expect(response.status).toBe(404);
      bodies.add(await response.text());
    }
  }
  expect(bodies.size).toBe(1);
  expect((await look(running.streamId)).status).toBe('open');
});

it('of all stops one key’s streams, and the other key’s go on', async () => {
  upstream.script({ tokens: 100_000 });
  upstream.script({ path: '/audio/speech', audioSeconds: 60, tokenDelayMs: 50 });
  const own = await Promise.all([chat(), chat(), chat({ stream: true }), speech()]);
  const other = await chat({}, OTHER_KEY);
  const answer = (await (await ask('POST', '/api/stop_all')).json()) as { stream_ids: string[] };
  expect(answer).toMatchObject({ status: 'stopped', count: own.length });
  expect(answer.stream_ids.toSorted()).toEqual(own.map(({ streamId }) => streamId).toSorted());
  for (const { over } of own) await over;
  await until(() => upstream.activeRequests() === 1);
  const before = other.body().length;
  await until(() => other.body().length > before);
  expect(await openIds()).toEqual([]);
  expect(await openIds(OTHER_KEY)).toEqual([other.streamId]);
}, 60_000);
