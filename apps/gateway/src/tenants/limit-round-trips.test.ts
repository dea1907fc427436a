import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expectError } from '@antiphon/testing/error-envelope';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { type ScriptedWorker, startScriptedWorker } from '@antiphon/testing/scripted-worker';
import { type TcpProxy, startTcpProxy } from '@antiphon/testing/tcp-proxy';
import { until } from '@antiphon/testing/until';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { answerChat, speakSilence } from '../testing/scripted-handlers.ts';
import { type TestGateway, openTestGateway } from '../testing/test-gateway.ts';

let redis: RedisServer;
let proxy: TcpProxy;
let gateway: TestGateway;
let monitor: Redis;
let directory: string;
const workers: ScriptedWorker<'chat' | 'speech'>[] = [];
/** What Redis was asked, and what its scripts did. */
let commands: string[] = [];

const KEY_FILE = `
both:key-of-both-0123456789 requests-per-minute=100 streams=4
few:key-of-few-0123456789 requests-per-minute=2 streams=4
large:key-of-large-0123456789 requests-per-minute=1 streams=4
letters:key-of-letters-0123456789 requests-per-minute=1 streams=4 characters-per-minute=100
`;

beforeAll(async () => {
  redis = await startRedis();
  const redisUrl = redis.url;
  directory = await mkdtemp(join(tmpdir(), 'antiphon-limits-'));
  const file = join(directory, 'keys');
  await writeFile(file, KEY_FILE);
  workers.push(
    (await startScriptedWorker({
      ...{ redisUrl, kind: 'chat' as const, announced: { models: ['m'] } },
      handler: answerChat('Good day.'),
    })) as never,
    (await startScriptedWorker({
      ...{ redisUrl, kind: 'speech' as const, handler: speakSilence },
      announced: { models: ['tts-1'], voices: 'any' },
    })) as never,
  );
  const url = new URL(redis.url);
  proxy = await startTcpProxy(Number(url.port));
  url.port = String(proxy.port);
  gateway = await openTestGateway(url.href, { API_KEYS_FILE: file });
  monitor = await new Redis(redis.url).monitor();
  monitor.on('monitor', (_time: string, parts: string[]) =>
    commands.push(parts.join(' ').toLowerCase()),
  );
});
afterEach(() => proxy.setMode({ type: 'pass' }));
afterAll(async () => {
  monitor.disconnect();
  await gateway.close();
  for (const worker of workers) await worker.close();
  await proxy.close();
  await rm(directory, { recursive: true });
  await redis.close();
});

const post = (name: string, path: string, body: object) =>
  fetch(`${gateway.url}${path}`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      authorization: `Bearer key-of-${name}-0123456789`,
    },
    body: JSON.stringify(body),
  });
const chat = (name: string, content = 'Hello') =>
  post(name, '/v1/chat/completions', { model: 'm', messages: [{ role: 'user', content }] });
/** Commands about the limits of a key; not those of the timers. */
const asked = (name: string) =>
  commands.filter((command) => command.startsWith('eval') && command.includes(`:name-${name}`));
const placesTaken = (name: string) =>
  commands.filter((command) => command.startsWith(`zadd antiphon:tenant:name-${name}:slots`));
const LIMITED = { status: 429, type: 'requests', code: 'rate_limit_exceeded' };

it('a request of a key with both limits is counted and gets its place in one round trip', async () => {
  expect((await chat('both')).status).toBe(200);
  commands = [];
  // Redis hears what it is asked, and nobody hears what it says.
  proxy.setMode({ type: 'half-open' });
  const answer = chat('both');
  await until(() => asked('both').length === 2);
  expect(asked('both').map((command) => /antiphon:\S+/.exec(command)?.[0])).toEqual([
    'antiphon:rate:requests:name-both',
    'antiphon:tenant:name-both:slots',
  ]);
  await until(() => placesTaken('both').length === 1);
  proxy.setMode({ type: 'pass' });
  const response = await answer;
  expect(response.status).toBe(200);
  expect(response.headers.get('x-ratelimit-remaining-requests')).toBe('98');
});

it('a request too many has no place, not even for a moment', async () => {
  expect((await chat('few')).status).toBe(200);
  expect((await chat('few')).status).toBe(200);
  commands = [];
  for (let count = 0; count < 5; count += 1) {
    const response = await chat('few');
    expect(response.headers.get('x-ratelimit-remaining-requests')).toBe('0');
    await expectError(response, {
      ...LIMITED,
      message: /^Rate limit reached for requests per min/,
    });
  }
  await until(() => asked('few').length === 10);
  expect(placesTaken('few')).toEqual([]);
});

it('requests at once are all answered up to the limit, whichever is beyond it', async () => {
  const direct = new Redis(redis.url);
  await direct.set('antiphon:rate:requests:name-both', 96, 'EX', 60);
  const responses = await Promise.all(Array.from({ length: 12 }, () => chat('both')));
  const statuses = responses.map(({ status }) => status);
  expect(statuses.filter((status) => status === 200)).toHaveLength(4);
  expect(statuses.filter((status) => status === 429)).toHaveLength(8);
  direct.disconnect();
});

it('a long body is not read in vain', async () => {
  expect((await chat('large')).status).toBe(200);
  const response = await chat('large', 'x'.repeat(70_000));
  await expectError(response, LIMITED);
});

it('a request that is none is told so, and counted; beyond the limit it is told that', async () => {
  const speak = (input: string) =>
    post('letters', '/v1/audio/speech', { model: 'tts-1', voice: 'x', input });
  const unreadable = await speak('');
  expect(unreadable.status).toBe(400);
  expect(unreadable.headers.get('x-ratelimit-remaining-requests')).toBe('0');
  await expectError(await speak(''), LIMITED);
  await expectError(await speak('What is refused uses up no characters.'), LIMITED);
  const direct = new Redis(redis.url);
  expect(await direct.exists('antiphon:rate:characters:name-letters')).toBe(0);
  direct.disconnect();
});
