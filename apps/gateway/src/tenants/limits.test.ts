import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { wavHeader } from '@antiphon/shared/audio/wav';
import type { JobHandler } from '@antiphon/shared/queue/job-worker';
import { openRedis, whenReady } from '@antiphon/shared/queue/redis';
import { expectError } from '@antiphon/testing/error-envelope';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { startScriptedWorker } from '@antiphon/testing/scripted-worker';
import { until } from '@antiphon/testing/until';
import { afterAll, beforeAll, expect, it } from 'vitest';
import {
  answerChat,
  chatFrame,
  hearOneSegment,
  speakPhrases,
  speakSilence,
} from '../testing/scripted-handlers.ts';
import { type TestGateway, openTestGateway } from '../testing/test-gateway.ts';

let redis: RedisServer;
let gateway: TestGateway;
let directory: string;
const closing: (() => Promise<void>)[] = [];

/** Each test has keys of its own, since their minutes do not end in a test. */
const KEY_FILE = `
requests:key-of-requests-0123456789 requests-per-minute=2
plain:key-of-nobody-in-particular
streams:key-of-streams-0123456789 streams=2
characters:key-of-characters-0123456789 characters-per-minute=40
adopted:key-of-adopted-0123456789 streams=1
chat:key-of-chat-0123456789 characters-per-minute=8
seconds:key-of-seconds-0123456789 audio-seconds-per-minute=3
one:key-of-one-0123456789 streams=1 characters-per-minute=40
readers:key-of-readers-0123456789 streams=1
leaving:key-of-leaving-0123456789 streams=20
`;
const keys = Object.fromEntries(
  [...KEY_FILE.matchAll(/^(\w+):(\S+)/gm)].map(([, name = '', key = '']) => [name, key]),
);

/** Says something, and goes on until it is stopped. */
const endless: JobHandler<'chat'> = async ({ producer, signal }) => {
  await producer.append({ type: 'text-delta', bytes: chatFrame('Well') }, { signal });
  await once(signal, 'abort');
  signal.throwIfAborted();
};
/** The same aloud. */
const aloud: JobHandler<'chat'> = async ({ producer, signal }) => {
  await producer.append(
    { type: 'phrase-start', phraseIndex: 0, text: 'Well', before: '' },
    { phrase: { phraseIndex: 0, body: { text: 'Well' } }, signal },
  );
  await once(signal, 'abort');
  signal.throwIfAborted();
};
const scripts: Record<string, JobHandler<'chat'>> = {
  endless,
  aloud,
  short: answerChat('Good day.'),
  spoken: speakPhrases(['Good morning.']),
};

beforeAll(async () => {
  redis = await startRedis();
  const redisUrl = redis.url;
  directory = await mkdtemp(join(tmpdir(), 'antiphon-limits-'));
  const file = join(directory, 'keys');
  await writeFile(file, KEY_FILE);
  const llm = await startScriptedWorker({
    ...{ redisUrl, kind: 'chat' as const, announced: { models: Object.keys(scripts) } },
    concurrency: 16,
    handler: async (given) => scripts[given.job.model]?.(given),
  });
  const tts = await startScriptedWorker({
    ...{ redisUrl, kind: 'speech' as const, handler: speakSilence },
    announced: { models: ['tts-1'], voices: 'any' },
  });
  const stt = await startScriptedWorker({
    ...{ redisUrl, kind: 'transcription' as const, handler: hearOneSegment },
    announced: { models: ['whisper-1'] },
  });
  gateway = await openTestGateway(redis.url, { API_KEYS_FILE: file });
  closing.push(...[gateway, llm, tts, stt].map((opened) => () => opened.close()));
});
afterAll(async () => {
  for (const close of closing) await close();
  await rm(directory, { recursive: true });
  await redis.close();
});

const get = (name: string, path = '/v1/models') =>
  fetch(`${gateway.url}${path}`, { headers: { authorization: `Bearer ${keys[name]}` } });
const post = (name: string, path: string, body: object) =>
  fetch(`${gateway.url}${path}`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      authorization: `Bearer ${keys[name]}`,
    },
    body: JSON.stringify(body),
  });
const messages = [{ role: 'user', content: 'Hello' }];
const chat = (name: string, model: string, more = {}) =>
  post(name, '/v1/chat/completions', { model, messages, stream: true, ...more });
const LIMITED = { status: 429, type: 'requests', code: 'rate_limit_exceeded' };

it('tells a key with a limit what is left, on every answer, and refuses what is over it', async () => {
  const first = await get('requests');
  expect(first.headers.get('x-ratelimit-limit-requests')).toBe('2');
  expect(first.headers.get('x-ratelimit-remaining-requests')).toBe('1');
  expect(first.headers.get('x-ratelimit-reset-requests')).toMatch(/^(1m0s|5\d(\.\d+)?s)$/);
  const streamed = await chat('requests', 'short');
  expect(streamed.status).toBe(200);
  expect(await streamed.text()).toContain('[DONE]');
  expect(streamed.headers.get('x-ratelimit-remaining-requests')).toBe('0');
  expect(streamed.headers.get('x-stream-id')).toMatch(/^s/);

  for (const refused of [await get('requests'), await chat('requests', 'short')]) {
    expect(refused.headers.get('x-ratelimit-remaining-requests')).toBe('0');
    expect(refused.headers.get('x-should-retry')).toBe('true');
    const seconds = Number(refused.headers.get('retry-after'));
    expect(seconds).toBeGreaterThan(50);
    expect(seconds).toBeLessThanOrEqual(60);
    const milliseconds = Number(refused.headers.get('retry-after-ms'));
    expect(Math.ceil(milliseconds / 1000)).toBe(seconds);
    await expectError(refused, {
      ...LIMITED,
      message:
        /^Rate limit reached for requests per min\. Limit 2, Used 2, Requested 1\. Please try again in /,
    });
  }
  // What runs can be looked at and stopped all the same.
  expect((await get('requests', '/v1/streams')).status).toBe(200);
  expect((await post('requests', '/api/stop_all', {})).status).toBe(200);
});

it('says nothing of limits to a key that has none', async () => {
  const headers = [...(await get('plain')).headers.keys()];
  expect(headers.filter((name) => name.startsWith('x-ratelimit'))).toEqual([]);
});

it('opens no more streams than a key may have at once, and another when one has ended', async () => {
  const running = [await chat('streams', 'endless'), await chat('streams', 'endless')];
  expect(running.map(({ status }) => status)).toEqual([200, 200]);
  const refused = await chat('streams', 'short');
  expect(refused.headers.get('retry-after')).toBe('1');
  await expectError(refused, {
    ...LIMITED,
    message:
      'Rate limit reached for concurrent streams. Limit 2, Used 2, Requested 1. Please try again when one of them has ended.',
  });
  expect((await chat('plain', 'short')).status).toBe(200);
  await post('streams', `/v1/streams/${running[0]?.headers.get('x-stream-id')}/cancel`, {});
  await running[0]?.text();
  await until(async () => {
    const next = await chat('streams', 'short');
    await next.text();
    return next.status === 200;
  });
  await running[1]?.body?.cancel(); // its client leaves
  await until(async () => (await get('streams', '/v1/streams')).status === 200);
  await until(async () => {
    const both = [await chat('streams', 'endless'), await chat('streams', 'endless')];
    const opened = both.every(({ status }) => status === 200);
    for (const { body } of both) await body?.cancel();
    return opened;
  });
});

it('counts streams in the background whose clients leave at once', async () => {
  const body = JSON.stringify({ model: 'endless', messages, stream: true, background: true });
  const head = [
    ...['POST /v1/chat/completions HTTP/1.1', 'host: 127.0.0.1', 'content-type: application/json'],
    ...[`content-length: ${body.length}`, `authorization: Bearer ${keys['leaving']}`],
  ].join('\r\n');
  // In which moment one leaves differs: each time a little later.
  for (let turns = 1; turns <= 34; turns += 3) {
    const socket = connect(gateway.port, '127.0.0.1');
    await once(socket, 'connect');
    socket.write(`${head}\r\n\r\n${body}`);
    for (let turn = 0; turn < turns; turn += 1) await nextTurn();
    socket.destroy();
  }
  const last = await chat('leaving', 'endless', { background: true });
  await last.body?.cancel();
  const redisClient = openRedis(redis.url, { role: 'command', onError: () => undefined });
  await whenReady(redisClient);
  const count = async () => {
    const { data } = (await (await get('leaving', '/v1/streams')).json()) as { data: object[] };
    const places = await redisClient.zcard('antiphon:tenant:name-leaving:slots');
    return { running: data.length, places };
  };
  await until(async () => {
    const { running, places } = await count();
    return running === places;
  });
  expect((await count()).running).toBeGreaterThan(0);
  await post('leaving', '/v1/streams/cancel', {});
  await until(async () => (await count()).places === 0);
  redisClient.disconnect();
});

it('counts a stream that it has adopted from another gateway', async () => {
  const other = await openTestGateway(redis.url, { API_KEYS_FILE: join(directory, 'keys') });
  const kept = await fetch(`${other.url}/v1/chat/completions`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      authorization: `Bearer ${keys['adopted']}`,
    },
    body: JSON.stringify({ model: 'endless', messages, stream: true, background: true }),
  });
  const streamId = kept.headers.get('x-stream-id') ?? '';
  expect((await chat('adopted', 'short')).status).toBe(429);
  kept.body?.cancel().catch(() => undefined);
  await other.close(); // hands it over, and frees its place
  const log = openRedis(redis.url, { role: 'command', onError: () => undefined });
  await whenReady(log);
  const places = () => log.zrange('antiphon:tenant:name-adopted:slots', '0', '-1');
  await until(async () => (await places()).includes(streamId));
  await until(async () => (await places()).length === 1);
  expect((await chat('adopted', 'short')).status).toBe(429);
  await post('adopted', `/v1/streams/${streamId}/cancel`, {});
  await until(async () => (await places()).length === 0);
  expect((await chat('adopted', 'short')).status).toBe(200);
  log.disconnect();
});

it('has a stream read again by twice as many at once as a key may have streams', async () => {
  const audio = { voice: 'x', format: 'pcm16' };
  const kept = await chat('readers', 'aloud', {
    ...{ background: true, modalities: ['text', 'audio'], audio },
  });
  const path = `/v1/streams/${kept.headers.get('x-stream-id')}`;
  const readers = [await get('readers', `${path}/events`), await get('readers', `${path}/events`)];
  expect(readers.map(({ status }) => status)).toEqual([200, 200]);
  for (const what of ['events', 'audio']) {
    const refused = await get('readers', `${path}/${what}`);
    expect(refused.headers.get('x-ratelimit-limit-readers')).toBe('2');
    await expectError(refused, {
      ...LIMITED,
      message: /^Rate limit reached for readers of streams\./,
    });
  }
  await readers[0]?.body?.cancel();
  await until(async () => {
    const next = await get('readers', `${path}/events`);
    await next.body?.cancel();
    return next.status === 200;
  });
  await post('readers', `${path}/cancel`, {});
  await Promise.all([kept.text(), readers[1]?.text()]);
});

it('holds no place for a request that opens no stream', async () => {
  for (let count = 0; count < 3; count += 1)
    expect((await chat('streams', 'unknown')).status).toBe(404);
  await until(async () => (await chat('streams', 'short')).status === 200);
});

it('counts what is to be spoken before it is, and what is less still passes', async () => {
  const speech = (input: string) =>
    post('characters', '/v1/audio/speech', { model: 'tts-1', voice: 'x', input });
  expect((await speech('This sentence has thirty letters')).status).toBe(200); // and two more
  const refused = await speech('Nine chars');
  expect(refused.headers.get('x-ratelimit-limit-characters')).toBe('40');
  expect(refused.headers.get('x-ratelimit-remaining-characters')).toBe('8');
  expect(refused.headers.get('x-ratelimit-reset-characters')).toMatch(/^(1m0s|[45]\d(\.\d+)?s)$/);
  expect(refused.headers.get('x-should-retry')).toBe('true');
  await expectError(refused, {
    ...LIMITED,
    message:
      /^Rate limit reached for characters of speech per min\. Limit 40, Used 32, Requested 10/,
  });
  expect((await speech('Eight :)')).status).toBe(200);
  expect((await speech('x')).status).toBe(429);
  expect((await chat('characters', 'short')).status).toBe(200); // which is not spoken
});

it('tells a text that is longer than a whole minute not to come again', async () => {
  const input = 'This sentence has more letters than forty.';
  const refused = await post('characters', '/v1/audio/speech', {
    model: 'tts-1',
    voice: 'x',
    input,
  });
  expect(refused.headers.get('x-should-retry')).toBe('false');
  expect(refused.headers.get('retry-after')).toBeNull();
  expect(refused.headers.get('x-ratelimit-limit-characters')).toBe('40');
  await expectError(refused, {
    ...LIMITED,
    message:
      'Request too large for characters of speech per min. Limit 40, Requested 42. Send less at a time.',
  });
});

it('spends nothing on what has no place', async () => {
  const running = await chat('one', 'endless');
  const speak = () =>
    post('one', '/v1/audio/speech', {
      model: 'tts-1',
      voice: 'x',
      input: 'Thirty letters, or nearly so.',
    });
  for (let count = 0; count < 3; count += 1) {
    const refused = await speak();
    expect(refused.headers.get('x-ratelimit-remaining-streams')).toBe('0');
    await expectError(refused, { ...LIMITED, message: /concurrent streams/ });
  }
  await running.body?.cancel();
  await until(async () => (await chat('one', 'short')).status === 200);
  await until(async () => (await speak()).status === 200);
  // And what is refused for its length takes no place.
  await expectError(await speak(), { ...LIMITED, message: /Used 29, Requested 29/ });
  await until(async () => (await chat('one', 'short')).status === 200);
});

it('lets a spoken answer end that goes over the limit, and refuses the next one', async () => {
  const audio = { voice: 'x', format: 'pcm16' };
  const spoken = () => chat('chat', 'spoken', { modalities: ['text', 'audio'], audio });
  const first = await spoken();
  expect(await first.text()).toContain('[DONE]');
  await until(async () => {
    const next = await spoken();
    await next.text();
    return next.status === 429;
  });
  await expectError(await spoken(), {
    ...LIMITED,
    message: /^Rate limit reached for characters of speech per min\. Limit 8, Used \d+\. Please/,
  });
  expect((await chat('chat', 'short')).status).toBe(200);
});

it('counts the seconds of audio that were heard', async () => {
  const wav = Buffer.concat([
    wavHeader({ sampleRateHz: 16_000, dataBytes: 8000 }),
    new Uint8Array(8000),
  ]);
  const transcribe = () => {
    const body = new FormData();
    body.set('file', new Blob([wav]), 'speech.wav');
    const headers = { authorization: `Bearer ${keys['seconds']}` };
    return fetch(`${gateway.url}/v1/audio/transcriptions`, { method: 'POST', headers, body });
  };
  let heard = 0;
  await until(async () => {
    const response = await transcribe();
    if (response.status === 200) heard += 1;
    return response.status === 429;
  });
  expect(heard).toBeGreaterThanOrEqual(2); // two seconds each by the worker's 1.5
  expect(heard).toBeLessThan(5);
  await expectError(await transcribe(), {
    ...LIMITED,
    message: /^Rate limit reached for seconds of audio per min\. Limit 3, Used [4-9]\. Please/,
  });
});
