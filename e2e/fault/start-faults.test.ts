import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort, type RedisServer, startRedis } from '@antiphon/testing/redis';
import { PATIENCE } from '@antiphon/testing/until';
import { afterAll, beforeAll, expect, it } from 'vitest';

const APPS = ['gateway', 'llm-worker', 'tts-worker', 'stt-worker'];
const PASSWORD = 'canary-redis-password';

let redis: RedisServer;
let locked: RedisServer;
let evicting: RedisServer;
let silent: Server;
let directory: string;
let deadPort: number;
let silentPort: number;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'antiphon-start-'));
  redis = await startRedis();
  locked = await startRedis(['--requirepass', 'another-password']);
  evicting = await startRedis(['--maxmemory', '100mb', '--maxmemory-policy', 'allkeys-lru']);
  deadPort = await freePort();
  silent = createServer().listen(0, '127.0.0.1');
  await once(silent, 'listening');
  silentPort = (silent.address() as { port: number }).port;
}, 60_000);
afterAll(async () => {
  for (const server of [redis, locked, evicting]) await server?.close();
  silent?.close();
  await rm(directory, { recursive: true, force: true });
});

/** Starts a process that must refuse to: its exit code, what it said, and how long it took. */
async function start(app: string, environment: Record<string, string>) {
  const main = new URL(`../../apps/${app}/src/main.ts`, import.meta.url).pathname;
  const startedAtMs = performance.now();
  const child = spawn(process.execPath, [main], {
    env: {
      PATH: process.env['PATH'],
      DATA_DIR: directory,
      REDIS_URL: redis.url,
      PORT: '0',
      ...environment,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (part: Buffer) => {
      said += part.toString();
    });
  const timer = setTimeout(() => child.kill('SIGKILL'), 10_000 * PATIENCE);
  const [code] = (await once(child, 'close')) as [number | null];
  clearTimeout(timer);
  return { code, said, tookMs: performance.now() - startedAtMs };
}

type Case = [what: string, apps: string[], environment: () => Record<string, string>, RegExp];

const CASES: Case[] = [
  ['Redis is down', APPS, () => ({ REDIS_URL: `redis://127.0.0.1:${deadPort}` }), /REDIS_URL/],
  [
    'Redis says nothing',
    APPS,
    () => ({ REDIS_URL: `redis://127.0.0.1:${silentPort}` }),
    /REDIS_URL/,
  ],
  [
    'the password of Redis is wrong',
    APPS,
    () => ({ REDIS_URL: locked.url.replace('redis://', `redis://:${PASSWORD}@`) }),
    /REDIS_URL.*password/,
  ],
  ['Redis evicts keys (F10)', APPS, () => ({ REDIS_URL: evicting.url }), /maxmemory-policy/],
  ['a port is none', ['gateway'], () => ({ PORT: '99999' }), /PORT/],
  ['a port is taken', ['gateway'], () => ({ PORT: String(silentPort) }), /PORT.*in use/],
  [
    'an engine is unknown',
    ['llm-worker'],
    () => ({ AI_SERVICE: 'nobody' }),
    /AI_SERVICE.*nobody.*known/,
  ],
  ['a voice is unknown', ['tts-worker'], () => ({ TTS_SERVICE: 'nobody' }), /TTS_SERVICE/],
  ['an ear is unknown', ['stt-worker'], () => ({ STT_SERVICE: 'nobody' }), /STT_SERVICE/],
  [
    'the key of api.openai.com is missing',
    ['llm-worker'],
    () => ({ AI_SERVICE: 'openai' }),
    /OPENAI_API_KEY/,
  ],
];

it.each(CASES)('B11 %s: said in a line, and no start', async (_what, apps, environment, words) => {
  // Side by side: each takes half a second of CPU to load, and some wait for an answer.
  const starts = await Promise.all(apps.map((app) => start(app, environment())));
  for (const { code, said, tookMs } of starts) {
    expect(code).not.toBe(0);
    expect(code).not.toBeNull();
    expect(said).toMatch(words);
    expect(said.trim().split('\n')).toHaveLength(1);
    expect(said).not.toContain(PASSWORD);
    expect(tookMs).toBeLessThan(5000 * PATIENCE);
  }
});
