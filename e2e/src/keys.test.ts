import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type OpenAIServer, startOpenAIServer } from '@antiphon/testing/openai-server';
import { PATIENCE, until } from '@antiphon/testing/until';
import { Redis } from 'ioredis';
import OpenAI, { AuthenticationError } from 'openai';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type Stack, startStack } from './stack.ts';

const ADMIN_KEY = 'admin-key-0123456789';
const ALICE = 'key-of-alice-0123456789';
const ALICE_NEXT = 'next-key-of-alice-0123456789';
const BOB = 'key-of-bob-0123456789';
const FLOOD = 'key-of-the-flood-0123456789';
const MOST_STREAMS = 8;
/** Those of the flood, and one. */
const SLOTS = 12;

let upstream: OpenAIServer;
let stack: Stack;
let directory: string;
let keyFile: string;

/** As one replaces a file that is being read. */
async function writeKeys(lines: string[]): Promise<void> {
  await writeFile(`${keyFile}.new`, `${lines.join('\n')}\n`);
  await rename(`${keyFile}.new`, keyFile);
}
const LINES = [
  `alice:${ALICE}`,
  `bob:${BOB} requests-per-minute=1000`,
  `flood:${FLOOD} streams=${MOST_STREAMS}`,
];

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'antiphon-keys-'));
  keyFile = join(directory, 'keys.txt');
  await writeKeys(LINES);
  upstream = await startOpenAIServer({ tokenDelayMs: 20 });
  stack = await startStack({
    apps: ['gateway', 'llm-worker'],
    environment: {
      'gateway:API_KEYS_FILE': keyFile,
      ADMIN_KEY,
      AI_SERVICE: 'openai',
      OPENAI_BASE_URL: upstream.baseUrl,
      LLM_OPENAI_MODELS: 'scripted',
      CONCURRENCY: String(SLOTS),
    },
    models: ['scripted'],
    apiKey: ALICE,
  });
}, 60_000);
afterEach(async () => {
  upstream.resetScripts();
  for (const key of [ALICE, BOB, FLOOD]) await ask('POST', '/api/stop_all', key);
  await until(() => upstream.activeRequests() === 0, { what: 'no engine call' });
});
afterAll(async () => {
  await stack.close();
  await upstream.close();
  await rm(directory, { recursive: true });
});

function ask(method: string, path: string, key: string, body?: object): Promise<Response> {
  return fetch(`${stack.rootUrl}${path}`, {
    method,
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    ...(body ? { body: JSON.stringify(body) } : {}),
  });
}
const messages = [{ role: 'user' as const, content: 'Hello' }];
const chat = (key: string) =>
  fetch(`${stack.rootUrl}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'x-api-key': key, 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'scripted', stream: true, messages }),
  });
/** Milliseconds to the first byte of an answer, which is then read to its end. */
async function firstByteMs(key: string): Promise<number> {
  const startedMs = performance.now();
  const response = await chat(key);
  expect(response.status).toBe(200);
  const passedMs = performance.now() - startedMs;
  await response.text();
  return passedMs;
}
const LONG = { tokens: 3000 };

describe('keys of a file', () => {
  it('are the SDK’s, and a wrong one is its AuthenticationError', async () => {
    const client = (apiKey: string) =>
      new OpenAI({ baseURL: stack.baseUrl, apiKey, maxRetries: 0 }).chat.completions;
    const answer = await client(BOB).create({ model: 'scripted', messages });
    expect(answer.choices[0]?.finish_reason).toBe('stop');
    await expect(client(`${BOB}0`).create({ model: 'scripted', messages })).rejects.toThrow(
      AuthenticationError,
    );
  });

  it('are followed when the file changes, while streams go on; a fault in it changes nothing', async () => {
    upstream.script({ tokens: 200 });
    const running = await chat(ALICE);
    await writeKeys([`alice:${ALICE_NEXT}`, ...LINES.slice(1)]);
    await until(async () => (await ask('GET', '/v1/models', ALICE_NEXT)).status === 200);
    expect((await ask('GET', '/v1/models', ALICE)).status).toBe(401);
    // Two keys of one name are one tenant: what the old one began is the new one's.
    const streamId = running.headers.get('x-stream-id');
    expect((await ask('GET', `/v1/streams/${streamId}`, ALICE_NEXT)).status).toBe(200);
    expect(await running.text()).toContain('[DONE]');

    const gateway = stack.processes[0];
    await writeKeys([...LINES, 'sha256:canary']);
    await until(() => gateway?.output().includes('API_KEYS_FILE: line 4: sha256: must be'));
    expect((await ask('GET', '/v1/models', ALICE_NEXT)).status).toBe(200);
    await writeKeys(LINES);
    await until(async () => (await ask('GET', '/v1/models', ALICE)).status === 200);
    for (const secret of [ALICE, ALICE_NEXT, BOB, 'canary'])
      expect(gateway?.output()).not.toContain(secret);
  });
});

it('another tenant’s stream is an unknown one, to the byte', async () => {
  upstream.script(LONG);
  const running = await chat(ALICE);
  const id = running.headers.get('x-stream-id') ?? '';
  const unknown = `s${'0'.repeat(32)}`;
  for (const [method, path] of [
    ['GET', ''],
    ['GET', '/events'],
    ['GET', '/audio'],
    ['POST', '/cancel'],
  ] as const) {
    const answers = await Promise.all(
      [id, unknown].map((of) => ask(method, `/v1/streams/${of}${path}`, BOB)),
    );
    expect(answers.map(({ status }) => status)).toEqual([404, 404]);
    const [foreign, none] = await Promise.all(answers.map((answer) => answer.text()));
    expect(foreign).toBe(none);
  }
  expect(((await (await ask('GET', '/v1/streams', BOB)).json()) as { data: [] }).data).toEqual([]);
  expect((await ask('GET', `/v1/streams/${id}`, ALICE)).status).toBe(200);
  await running.body?.cancel();
});

it('a flood of one key is held to its streams, and another key hardly notices (F26)', async () => {
  const idleMs = Math.min(await firstByteMs(BOB), await firstByteMs(BOB));
  upstream.script(LONG);
  const flood = await Promise.all(Array.from({ length: 500 }, () => chat(FLOOD)));
  upstream.resetScripts();
  const taken = flood.filter(({ status }) => status === 200);
  expect(taken).toHaveLength(MOST_STREAMS);
  for (const refused of flood) {
    if (refused.status === 200) continue;
    expect(refused.status).toBe(429);
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
    await refused.text();
  }
  expect(await firstByteMs(BOB)).toBeLessThan(2 * idleMs * PATIENCE + 100);
  expect((await chat(FLOOD)).status).toBe(429);
  const stopped = (await (await ask('POST', '/api/stop_all', FLOOD)).json()) as { count: number };
  expect(stopped.count).toBe(MOST_STREAMS);
  await Promise.all(taken.map((answer) => answer.text()));
});

it('metrics and queues are the admin key’s, and name no tenant', async () => {
  for (const path of ['/metrics', '/queues']) {
    expect((await fetch(`${stack.rootUrl}${path}`)).status).toBe(401);
    expect((await ask('GET', path, ALICE)).status).toBe(401);
    const answer = await ask('GET', path, ADMIN_KEY);
    expect(answer.status).toBe(200);
    expect(await answer.text()).not.toMatch(/alice|bob|flood|Hello/);
  }
});

it('keys are told apart, and refused, while Redis is away', async () => {
  const redis = new Redis(stack.redis.url);
  await redis.call('CLIENT', 'KILL', 'TYPE', 'NORMAL', 'SKIPME', 'yes');
  redis.disconnect();
  expect((await ask('GET', '/v1/models', `${BOB}0`)).status).toBe(401);
  const answer = await ask('GET', '/v1/models', BOB);
  expect(answer.status).toBe(200);
  expect(answer.headers.get('x-ratelimit-limit-requests')).toBe('1000');
});
