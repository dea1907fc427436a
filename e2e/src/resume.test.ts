import { type OpenAIServer, startOpenAIServer } from '@antiphon/testing/openai-server';
import { freePort } from '@antiphon/testing/redis';
import { until } from '@antiphon/testing/until';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type AppProcess, type Stack, startStack } from './stack.ts';

/** Long enough for a client to come back on a busy machine, short enough to wait for. */
const GRACE_MS = 3000;
const TOKENS = 12;
const TEXT = 'Good morning to you. The kettle is on, and the bread is fresh. Shall we begin?';

let upstream: OpenAIServer;
let stack: Stack;
let redis: Redis;
/** Another gateway on the same Redis. */
let otherUrl: string;

const startGateway = async (): Promise<{ url: string; process: AppProcess }> => {
  const port = await freePort();
  const started = stack.start('gateway', { PORT: String(port) });
  const url = `http://127.0.0.1:${port}/v1`;
  await until(async () => {
    const response = await fetch(`${url}/models`).catch(() => undefined);
    return ((await response?.text()) ?? '').includes('"scripted"');
  });
  return { url, process: started };
};

beforeAll(async () => {
  upstream = await startOpenAIServer({ tokens: TOKENS, tokenDelayMs: 5 });
  stack = await startStack({
    apps: ['gateway', 'llm-worker', 'tts-worker'],
    environment: {
      ...{ AI_SERVICE: 'openai', TTS_SERVICE: 'flite', OPENAI_BASE_URL: upstream.baseUrl },
      ...{ LLM_OPENAI_MODELS: 'scripted', RESUME_GRACE_MS: String(GRACE_MS) },
    },
    models: ['scripted', 'flite'],
  });
  redis = new Redis(stack.redis.url);
  otherUrl = (await startGateway()).url;
}, 60_000);
afterEach(async () => {
  await until(() => upstream.activeRequests() === 0, { what: 'no engine call', timeoutMs: 20_000 });
  await until(async () => (await redis.exists('antiphon:kept')) === 0, { what: 'nothing kept' });
  await until(async () => (await brokenLogs()).length === 0, { what: 'whole logs, one end each' });
  upstream.resetScripts();
});
afterAll(async () => {
  redis?.disconnect();
  await stack?.close();
  await upstream?.close();
});

/** A resumable stream keeps all of its log: 1, 2, 3 … with one end, at its end. */
async function brokenLogs(): Promise<string[]> {
  const broken: string[] = [];
  for (const key of await redis.keys('antiphon:{*}:log')) {
    const entries = await redis.xrange(key, '-', '+');
    const whole = entries.every(
      ([id, [, flag]], index) =>
        id === `${index + 1}-0` && flag === (index === entries.length - 1 ? '!' : '.'),
    );
    if (!whole) broken.push(key);
  }
  return broken;
}

interface Asked {
  url?: string;
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

const post = (path: string, body: object, { url, headers, signal }: Asked = {}) =>
  fetch(`${url ?? stack.baseUrl}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-stream-resume': '1', ...headers },
    body: JSON.stringify(body),
    signal: signal ?? null,
  });
const messages = [{ role: 'user', content: 'go' }];
const chat = (body: object = {}, asked?: Asked) =>
  post('/chat/completions', { model: 'scripted', stream: true, messages, ...body }, asked);
const spoken = { modalities: ['text', 'audio'], audio: { voice: 'alloy', format: 'mp3' } };
const streamIdOf = (response: Response) => response.headers.get('x-stream-id') ?? '';
const eventsOf = (url: string, streamId: string, after = 0) =>
  fetch(`${url}/streams/${streamId}/events`, { headers: { 'last-event-id': String(after) } });
const statusOf = (streamId: string) => redis.hget(`antiphon:{${streamId}}:state`, 'status');

/** Whole events, without ids and comments; a broken connection ends them as well. */
async function readEvents(response: Response, most = Infinity): Promise<string[]> {
  const events: string[] = [];
  let waiting = '';
  if (most === 0) {
    await response.body?.cancel();
    return [];
  }
  try {
    for await (const part of response.body ?? []) {
      waiting += Buffer.from(part).toString('latin1');
      const whole = waiting.split('\n\n');
      waiting = whole.pop() ?? '';
      events.push(...whole.map((event) => event.replace(/^((: .*|id: \d+)\n)+/, '')));
      if (events.length >= most) break; // closes the connection
    }
  } catch {
    // cut: what came is whole events, and the rest of one
  }
  return events.slice(0, most);
}

describe('a client that is cut and comes back to the other gateway', () => {
  it('at every event of a text: what it gets in all is the answer', async () => {
    for (let count = 0; count <= TOKENS; count += 1) {
      const begun = await chat();
      const streamId = streamIdOf(begun);
      const had = await readEvents(begun, count);
      const rest = await readEvents(await eventsOf(otherUrl, streamId, count));
      const whole = await readEvents(await eventsOf(stack.baseUrl, streamId));
      expect([...had, ...rest]).toEqual(whole);
      expect(whole.at(-1)).toBe('data: [DONE]');
      const text = whole.map((event) => /"content":"([^"]*)"/.exec(event)?.[1] ?? '').join('');
      expect(text.trim().split(' ')).toHaveLength(TOKENS);
    }
    expect(upstream.requestsTo('/chat/completions').every((call) => !call.abortedAtMs)).toBe(true);
  }, 60_000);

  it('in a spoken answer: the same sound, without a seam', async () => {
    upstream.script({ tokens: TEXT.match(/\s*\S+/g) ?? [] });
    for (const count of [1, 2, 5, 9]) {
      const begun = await chat(spoken);
      const streamId = streamIdOf(begun);
      const had = await readEvents(begun, count);
      const rest = await readEvents(await eventsOf(otherUrl, streamId, had.length));
      const data = [...had, ...rest].map((event) => /"data":"([^"]*)"/.exec(event)?.[1] ?? '');
      const whole = await fetch(`${otherUrl}/streams/${streamId}/audio`);
      const sound = Buffer.from(await whole.arrayBuffer());
      expect(sound.length).toBeGreaterThan(10_000);
      expect(Buffer.from(data.join(''), 'base64').equals(sound)).toBe(true);
      expect(rest.at(-1)).toBe('data: [DONE]');
    }
  }, 60_000);

  it('with a range of speech: slices of the whole', async () => {
    const answer = await post('/audio/speech', { input: TEXT, response_format: 'mp3' });
    const sound = Buffer.from(await answer.arrayBuffer());
    for (let start = 0; start < sound.length; start += Math.ceil(sound.length / 5)) {
      const range = `bytes=${start}-${start + 999}`;
      const url = `${otherUrl}/streams/${streamIdOf(answer)}/audio`;
      const part = await fetch(url, { headers: { range } });
      expect(part.status).toBe(206);
      const bytes = Buffer.from(await part.arrayBuffer());
      expect(bytes.equals(sound.subarray(start, start + 1000))).toBe(true);
    }
  }, 60_000);
});

describe('a gateway that is killed', () => {
  it('its client comes back to the other one and misses nothing', async () => {
    upstream.script({ tokens: 300, tokenDelayMs: 20 });
    const doomed = await startGateway();
    const begun = await chat({}, { url: doomed.url });
    const streamId = streamIdOf(begun);
    const reading = readEvents(begun);
    await until(async () => Number(await redis.hget(`antiphon:{${streamId}}:state`, 'seq')) > 20);
    await doomed.process.stop('SIGKILL');
    const had = await reading;
    expect(had.length).toBeGreaterThan(0);
    const rest = await readEvents(await eventsOf(otherUrl, streamId, had.length));
    expect([...had, ...rest]).toEqual(await readEvents(await eventsOf(otherUrl, streamId)));
    expect(rest.at(-1)).toBe('data: [DONE]');
    expect(upstream.requestsTo('/chat/completions').at(-1)?.abortedAtMs).toBeUndefined();
  }, 60_000);

  it('a stream in the background is kept by another one, and spoken to its end', async () => {
    upstream.script({ tokens: TEXT.match(/\s*\S+/g) ?? [], tokenDelayMs: 700 });
    const doomed = await startGateway();
    const begun = await chat({ ...spoken, background: true }, { url: doomed.url });
    const streamId = streamIdOf(begun);
    await readEvents(begun, 1);
    await doomed.process.stop('SIGKILL');
    await until(async () => (await statusOf(streamId)) !== 'open', { timeoutMs: 30_000 });
    expect(await statusOf(streamId)).toBe('done');
    const events = await readEvents(await eventsOf(otherUrl, streamId));
    expect(events.at(-1)).toBe('data: [DONE]');
  }, 90_000);
});

describe('a client that does not come back', () => {
  it('its stream is stopped behind the grace, and so is its upstream', async () => {
    upstream.script({ tokens: 100_000, tokenDelayMs: 20 });
    const begun = await chat();
    const streamId = streamIdOf(begun);
    await readEvents(begun, 2);
    const call = upstream.requestsTo('/chat/completions').at(-1);
    expect(await statusOf(streamId)).toBe('open');
    await until(async () => (await statusOf(streamId)) === 'cancelled');
    await until(() => call?.abortedAtMs !== undefined);
  }, 60_000);
});

describe('the same Idempotency-Key', () => {
  it('ten at once on two gateways, and later: one call, one answer', async () => {
    const before = upstream.requestsTo('/chat/completions').length;
    const headers = { 'idempotency-key': 'ten at once' };
    const ask = (index: number) =>
      chat({}, { headers, url: index % 2 === 0 ? stack.baseUrl : otherUrl });
    const answers = await Promise.all(Array.from({ length: 10 }, (_, index) => ask(index)));
    const bodies = await Promise.all(answers.map((answer) => answer.text()));
    const later = await ask(1);
    expect(new Set([...bodies, await later.text()]).size).toBe(1);
    expect(new Set([...answers, later].map(streamIdOf)).size).toBe(1);
    expect(upstream.requestsTo('/chat/completions')).toHaveLength(before + 1);
    const other = await chat({ temperature: 0.5 }, { headers });
    expect(other.status).toBe(409);
    expect(other.headers.get('x-should-retry')).toBe('false');
  });
});
