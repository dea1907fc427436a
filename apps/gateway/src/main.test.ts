import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort, type RedisServer, startRedis } from '@antiphon/testing/redis';
import { PATIENCE, until } from '@antiphon/testing/until';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const MAIN = new URL('./main.ts', import.meta.url).pathname;
/** Passwords and keys in these tests: none may ever be printed. */
const CANARY = /canary/;

let redis: RedisServer;
let directory: string;
beforeAll(async () => {
  redis = await startRedis();
  directory = await mkdtemp(join(tmpdir(), 'antiphon-main-'));
});
afterAll(async () => {
  await redis.close();
  await rm(directory, { recursive: true, force: true });
});

/** The real process, with nothing else of this one's environment. */
function startGateway(environment: NodeJS.ProcessEnv) {
  const child = spawn(process.execPath, [MAIN], {
    env: {
      PATH: process.env['PATH'],
      REDIS_URL: redis.url,
      DATA_DIR: directory,
      ...environment,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const written = { stdout: '', stderr: '' };
  child.stdout.on('data', (part: Buffer) => (written.stdout += part.toString()));
  child.stderr.on('data', (part: Buffer) => (written.stderr += part.toString()));
  return { child, written };
}

/** Starts a process that must refuse to: code 1, in short time, and what it printed. */
async function refusal(environment: NodeJS.ProcessEnv): Promise<string[]> {
  const { child, written } = startGateway({ PORT: '0', ...environment });
  const startedMs = performance.now();
  const [code] = (await once(child, 'close')) as [number];
  expect(code).toBe(1);
  expect(performance.now() - startedMs).toBeLessThan(5000 * PATIENCE);
  expect(written.stdout + written.stderr).not.toMatch(CANARY);
  return written.stderr.split('\n').filter((line) => line !== '');
}

describe('a start that cannot work is one line and exit code 1', { timeout: 30_000 }, () => {
  it('faults of the environment: a line for each', async () => {
    const lines = await refusal({ PORT: 'x', KEEPALIVE_MS: 'y', HOST: '0.0.0.0' });
    expect(lines.sort()).toStrictEqual([
      expect.stringMatching(/^gateway: API_KEYS: needed because HOST is 0\.0\.0\.0/),
      'gateway: KEEPALIVE_MS: must be a whole number',
      'gateway: PORT: must be a whole number',
    ]);
  });

  it('Redis is down', async () => {
    const port = await freePort();
    expect(await refusal({ REDIS_URL: `redis://:canary@127.0.0.1:${port}` })).toStrictEqual([
      `gateway: REDIS_URL: Redis at redis://127.0.0.1:${port}: nothing listens there (ECONNREFUSED)`,
    ]);
  });

  it('the second Redis is down', async () => {
    const port = await freePort();
    expect(await refusal({ STREAM_REDIS_URL: `redis://127.0.0.1:${port}` })).toStrictEqual([
      expect.stringMatching(/^gateway: STREAM_REDIS_URL: /),
    ]);
  });

  it('Redis never answers', async () => {
    const silent = createServer();
    silent.listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const { port } = silent.address() as { port: number };
    const sockets: { destroy(): void }[] = [];
    silent.on('connection', (socket) => sockets.push(socket));
    try {
      expect(await refusal({ REDIS_URL: `redis://127.0.0.1:${port}` })).toStrictEqual([
        `gateway: REDIS_URL: Redis at redis://127.0.0.1:${port}: it does not answer`,
      ]);
    } finally {
      for (const socket of sockets) socket.destroy();
      silent.close();
    }
  });

  it('Redis refuses the password', async () => {
    const locked = await startRedis(['--requirepass', 'right-canary']);
    try {
      expect(
        await refusal({ REDIS_URL: `redis://:wrong-canary@127.0.0.1:${locked.port}` }),
      ).toStrictEqual([
        `gateway: REDIS_URL: Redis at redis://127.0.0.1:${locked.port}: the password was refused`,
      ]);
    } finally {
      await locked.close();
    }
  });

  it('Redis evicts', async () => {
    const evicting = await startRedis(['--maxmemory-policy', 'allkeys-lru']);
    try {
      expect(await refusal({ REDIS_URL: evicting.url })).toStrictEqual([
        expect.stringMatching(/^gateway: REDIS_URL: .*maxmemory-policy is 'allkeys-lru'/),
      ]);
    } finally {
      await evicting.close();
    }
  });

  it('the port is in use', async () => {
    const other = createServer();
    other.listen(0, '127.0.0.1');
    await once(other, 'listening');
    const { port } = other.address() as { port: number };
    try {
      expect(await refusal({ PORT: String(port) })).toStrictEqual([
        `gateway: PORT: port ${port} is in use; choose another`,
      ]);
    } finally {
      other.close();
    }
  });

  it('the host is not this machine', async () => {
    expect(await refusal({ HOST: '192.0.2.1', API_KEYS: 'canary-key' })).toStrictEqual([
      expect.stringMatching(/^gateway: HOST: .*192\.0\.2\.1/),
    ]);
  });

  it('the data directory is a file', async () => {
    const file = join(directory, 'a-file');
    await writeFile(file, '');
    expect(await refusal({ DATA_DIR: file })).toStrictEqual([
      expect.stringMatching(/^gateway: DATA_DIR: /),
    ]);
  });

  it('an unknown player, or one that cannot play', async () => {
    expect(await refusal({ AUDIO_PLAYER: 'gramophone' })).toStrictEqual([
      "gateway: AUDIO_PLAYER: unknown engine 'gramophone'; known: none, speaker, file",
    ]);
    const file = join(directory, 'no-folder');
    await writeFile(file, '');
    expect(await refusal({ AUDIO_PLAYER: 'file', AUDIO_PLAYER_DIR: file })).toStrictEqual([
      expect.stringMatching(/^gateway: AUDIO_PLAYER_DIR: /),
    ]);
  });
});

describe('a start that works', { timeout: 30_000 }, () => {
  it('says where it listens, ends with code 0, tells no secret, leaves no lease', async () => {
    const port = await freePort();
    const { child, written } = startGateway({
      PORT: String(port),
      API_KEYS: 'sk-canary-0123456789',
    });
    const closed = once(child, 'close');
    const url = `http://127.0.0.1:${port}`;
    await until(
      () =>
        fetch(`${url}/health/live`).then(
          () => true,
          () => false,
        ),
      {
        timeoutMs: 10_000,
      },
    );
    await until(() => written.stdout.includes(`"url":"${url}"`));
    const refused = await fetch(`${url}/v1/models?key=canary-query`, {
      headers: { authorization: 'Bearer sk-canary-wrong-key' },
    });
    expect(refused.status).toBe(401);
    await refused.text();
    const allowed = await fetch(`${url}/v1/models`, {
      headers: { authorization: 'Bearer sk-canary-0123456789' },
    });
    expect(await allowed.json()).toStrictEqual({ object: 'list', data: [] });
    await until(() => written.stdout.includes('"status":200'));
    const startedMs = performance.now();
    child.kill('SIGTERM');
    expect(await closed).toStrictEqual([0, null]);
    expect(performance.now() - startedMs).toBeLessThan(3000 * PATIENCE);
    expect(written.stdout).toContain('"path":"/v1/models"');
    expect(written.stdout + written.stderr).not.toMatch(CANARY);
  });

  it('a second one beside it, on the same port, does not', async () => {
    const port = await freePort();
    const { child } = startGateway({ PORT: String(port) });
    const closed = once(child, 'close');
    await until(
      () =>
        fetch(`http://127.0.0.1:${port}/health/live`).then(
          () => true,
          () => false,
        ),
      {
        timeoutMs: 10_000,
      },
    );
    expect(await refusal({ PORT: String(port) })).toStrictEqual([
      `gateway: PORT: port ${port} is in use; choose another`,
    ]);
    child.kill('SIGTERM');
    expect(await closed).toStrictEqual([0, null]);
  });
});
