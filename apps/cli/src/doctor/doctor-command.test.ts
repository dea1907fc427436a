import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type OpenAIServer, startOpenAIServer } from '@antiphon/testing/openai-server';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createApi } from '../api.ts';
import { runCli } from '../testing/run-cli.ts';
import type { Check } from './check.ts';
import { checkNode } from './machine-checks.ts';
import { checkReady } from './server-checks.ts';

const HEARD = {
  text: 'the quick brown fox jumps over the hazy dog',
  language: 'english',
  durationSeconds: 2,
  words: [],
  segments: [],
};

let redis: RedisServer;
let server: OpenAIServer;
beforeAll(async () => {
  redis = await startRedis();
});
afterAll(async () => {
  await redis.close();
});
beforeEach(async () => {
  server = await startOpenAIServer({ transcript: HEARD, models: ['tts-1'], apiKey: 'canary' });
});
afterEach(async () => {
  await server.close();
});

async function doctor(environment: NodeJS.ProcessEnv = {}, args: string[] = []) {
  const outcome = await runCli(['doctor', '--json', ...args], {
    environment: {
      OPENAI_BASE_URL: server.baseUrl,
      OPENAI_API_KEY: 'canary',
      REDIS_URL: redis.url,
      ...environment,
    },
  });
  expect(outcome.stdout + outcome.stderr).not.toContain('canary');
  const { ok, checks } = JSON.parse(outcome.stdout) as { ok: boolean; checks: Check[] };
  const named = Object.fromEntries(checks.map((check) => [check.name, check]));
  return { ...outcome, ok, named, names: checks.map(({ name }) => name) };
}

it('goes all the way round, in order, one line each', async () => {
  const outcome = await runCli(['doctor'], {
    environment: {
      OPENAI_BASE_URL: server.baseUrl,
      OPENAI_API_KEY: 'canary',
      REDIS_URL: redis.url,
    },
  });
  expect(outcome).toMatchObject({ code: 0, stderr: '' });
  const lines = outcome.stdout.trimEnd().split('\n');
  expect(lines).toStrictEqual([
    expect.stringMatching(/^✓ node: \d+\.\d+/),
    expect.stringMatching(/^[✓!] configuration: /),
    expect.stringMatching(/^✓ redis: redis:\/\/127\.0\.0\.1:\d+ answers/),
    expect.stringMatching(/^✓ server: http:\S+ answers$/),
    expect.stringMatching(/^! ready: no \S+: not antiphon/),
    '✓ key: accepted',
    '✓ models: 1: tts-1; engines: scripted',
    '✓ voices: 2: alloy, echo',
    expect.stringMatching(
      /^✓ round trip: said 2\.2 s in \d+\.\d\d s, heard in \d+\.\d\d s: "the quick brown [a-z ]+"$/,
    ),
    expect.stringMatching(/^[✓!] programs: /),
    '! sound output: AUDIO_PLAYER=none plays nothing — unset it',
    expect.stringMatching(/^[✓!] microphone: /),
  ]);
  const [upload] = server.requestsTo('/audio/transcriptions');
  expect(upload?.files['file']?.[0]?.bytes.subarray(0, 4).toString()).toBe('RIFF');
});

it('something else heard than was said is a warning with both', async () => {
  server.script({ transcript: { ...HEARD, text: 'nothing of the kind' } });
  const { named, ok } = await doctor();
  expect(ok).toBe(true);
  expect(named['round trip']).toMatchObject({
    status: 'warning',
    detail: expect.stringContaining('"nothing of the kind" instead of "The quick brown fox'),
  });
});

describe('what has to work and does not: code 1', () => {
  it('no server', async () => {
    await server.close();
    const { code, ok, named, names } = await doctor();
    expect({ code, ok }).toStrictEqual({ code: 1, ok: false });
    expect(named['server']).toMatchObject({
      status: 'failed',
      detail: `nothing answers at ${server.baseUrl}`,
      advice: expect.stringContaining('npm start'),
    });
    expect(names).not.toContain('models');
    expect(names).toContain('microphone');
  });

  it('a server elsewhere than .env or the environment puts it', async () => {
    await server.close();
    const { named } = await doctor({ PORT: '9123' });
    expect(named['server']?.advice).toContain('--base-url http://127.0.0.1:9123/v1');
  });

  it('no Redis, or one that drops keys', async () => {
    const gone = await doctor({ REDIS_URL: 'redis://:canary@127.0.0.1:1' });
    expect(gone.code).toBe(1);
    expect(gone.named['redis']).toMatchObject({
      status: 'failed',
      detail: expect.stringContaining('nothing listens there (ECONNREFUSED)'),
    });
    const evicting = await startRedis(['--maxmemory-policy', 'allkeys-lru']);
    try {
      const { code, named } = await doctor({ REDIS_URL: evicting.url });
      expect(code).toBe(1);
      expect(named['redis']?.detail).toContain('config set maxmemory-policy noeviction');
    } finally {
      await evicting.close();
    }
  });

  it('a wrong key', async () => {
    const { code, named, names } = await doctor({ OPENAI_API_KEY: 'wrong', API_KEYS: 'canary' });
    expect(code).toBe(1);
    expect(named['key']).toMatchObject({
      status: 'failed',
      advice: expect.stringContaining('API_KEYS'),
    });
    expect(names).not.toContain('round trip');
  });

  it('speech that fails', async () => {
    const fault = { type: 'status', status: 503, headers: { 'retry-after': '2' } } as const;
    server.script({ path: '/audio/speech', fault });
    const { code, named } = await doctor();
    expect(code).toBe(1);
    expect(named['round trip']).toMatchObject({
      status: 'failed',
      advice: expect.stringContaining('in 2 s'),
    });
  });
});

it('programs that are missing are named with their packages', async () => {
  const { code, named } = await doctor({ TTS_ESPEAK_PATH: '/nowhere/espeak-ng' });
  expect(code).toBe(0);
  expect(named['programs']).toMatchObject({
    status: 'warning',
    detail: 'espeak-ng is not here (languages other than English)',
    advice: expect.stringContaining('apt-get install espeak-ng'),
  });
});

it.each([
  ['26.10.0', 'ok'],
  ['22.18.0', 'ok'],
  ['22.17.9', 'failed'],
  ['20.20.2', 'failed'],
])('Node %s is %s', (version, status) => {
  expect(checkNode(version).status).toBe(status);
});

describe('antiphon’s own picture', () => {
  let gateway: Server;
  let answer: { status: number; body: object };
  beforeEach(async () => {
    gateway = createServer((request, response) => {
      const known = request.url === '/health/ready';
      response.writeHead(known ? answer.status : 404, { 'content-type': 'application/json' });
      response.end(JSON.stringify(known ? answer.body : {}));
    });
    gateway.listen(0, '127.0.0.1');
    await once(gateway, 'listening');
  });
  afterEach(async () => {
    gateway.closeAllConnections();
    gateway.close();
    await once(gateway, 'close');
  });
  const ready = () => {
    const { port } = gateway.address() as AddressInfo;
    return checkReady(createApi({ baseUrl: `http://127.0.0.1:${port}/v1/` }));
  };
  const stages = { llm: true, tts: true, stt: true };

  it('is shown with its stages', async () => {
    answer = { status: 200, body: { status: 'ok', redis: true, stages, accepting: true } };
    expect(await ready()).toStrictEqual({ status: 'ok', detail: 'stages live: llm, tts, stt' });
  });

  it('names the stages that nobody works for', async () => {
    const body = { redis: true, stages: { ...stages, tts: false, stt: [] }, accepting: true };
    answer = { status: 503, body };
    expect(await ready()).toMatchObject({
      status: 'failed',
      detail: 'live: llm; nobody works for: tts, stt',
      advice: expect.stringContaining('tts-worker, stt-worker'),
    });
  });

  it('names the engines where it lists them', async () => {
    answer = { status: 200, body: { stages: { llm: ['demo'], tts: ['flite', 'espeak'] } } };
    expect(await ready()).toMatchObject({ detail: 'stages live: llm (demo), tts (flite, espeak)' });
  });

  it('tells a lost Redis and a server that ends', async () => {
    answer = { status: 503, body: { redis: false, stages, accepting: true } };
    expect((await ready()).status).toBe('failed');
    expect((await ready()).detail).toContain('lost its Redis');
    answer = { status: 503, body: { redis: true, stages, accepting: false } };
    expect((await ready()).detail).toContain('shutting down');
  });
});
