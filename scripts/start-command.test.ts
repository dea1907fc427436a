import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '@antiphon/testing/redis';
import { PATIENCE, until } from '@antiphon/testing/until';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { StubEvent } from './fixtures/stub-app.ts';
import { commandLine, signalGroup, startTicks } from './process-identity.ts';

const APPS = ['gateway', 'llm-worker', 'tts-worker', 'stt-worker'];
const FIXTURES = join(import.meta.dirname, 'fixtures');

let root: string;
let port: number;
const children: ChildProcess[] = [];

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), 'antiphon-start-'));
  port = await freePort();
  for (const app of APPS) {
    mkdirSync(join(root, 'apps', app, 'src'), { recursive: true });
    writeFileSync(
      join(root, 'apps', app, 'src', 'main.ts'),
      `import { runStubApp } from '${join(FIXTURES, 'stub-app.ts')}';\nrunStubApp('${app}');\n`,
    );
  }
});

afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGTERM');
  // A stop that leaves something behind shows here, whatever else the test asked.
  await until(() => ours().length === 0, { timeoutMs: 8000, what: 'nothing is left' }).catch(() => {
    throw new Error(`Left behind: ${describeOurs()}`);
  });
  rmSync(root, { recursive: true });
});

/** Every live process with this test's folder in its environment or as its place (Redis rewrites its environment). */
function ours(): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => pid > 0 && startTicks(pid) !== undefined)
    .filter((pid) => readProcess(pid).includes(root));
}

const describeOurs = () =>
  ours()
    .map((pid) => `${pid} ${commandLine(pid).join(' ')}`)
    .join('; ');

function readProcess(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'utf8') + readlinkSync(`/proc/${pid}/cwd`);
  } catch {
    return '';
  }
}

const isRedis = (pid: number) => /redis-server|valkey-server/.test(commandLine(pid)[0] ?? '');

interface Started {
  child: ChildProcess;
  output: () => string;
  exited: Promise<number | null>;
}

function start(environment: NodeJS.ProcessEnv = {}): Started {
  const { REDIS_URL: _redis, HEALTH_PORT: _health, LOG_LEVEL: _level, ...inherited } = process.env;
  const child = spawn(process.execPath, [join(FIXTURES, 'stub-start.ts'), root], {
    env: { ...inherited, PORT: String(port), DATA_DIR: join(root, 'data'), ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.push(child);
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (data: Buffer) => (text += data.toString()));
  }
  const exited = once(child, 'close').then(([code]) => code as number | null);
  return { child, output: () => text, exited };
}

async function startReady(environment: NodeJS.ProcessEnv = {}): Promise<Started> {
  const started = start(environment);
  await until(() => started.output().includes('ready after'), { timeoutMs: 10_000 }).catch(() => {
    throw new Error(`It did not come up:\n${started.output()}`);
  });
  await until(() => events('up').length >= APPS.length);
  return started;
}

function events(kind: StubEvent['event']): StubEvent[] {
  let text = '';
  try {
    text = readFileSync(join(root, 'data', 'events'), 'utf8');
  } catch {
    return [];
  }
  const all = text.split('\n').filter(Boolean);
  return all.map((line) => JSON.parse(line) as StubEvent).filter((found) => found.event === kind);
}

it.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)(
  'stops the gateway, then the workers, then Redis on %s, and leaves nothing',
  async (signal) => {
    const { child, exited, output } = await startReady();
    expect(ours().length).toBeGreaterThanOrEqual(1 + 1 + 2 * APPS.length);
    child.kill(signal);
    child.kill(signal); // one Ctrl-C arrives twice
    expect(await exited).toBe(0);
    expect(ours()).toEqual([]);
    expect(events('gone').map((event) => event.app)[0]).toBe('gateway');
    expect(
      events('gone')
        .map((event) => event.app)
        .toSorted(),
    ).toEqual(APPS.toSorted());
    expect(output()).not.toContain('starting it again');
  },
);

it('prints the base URL and three lines to paste', async () => {
  const { output } = await startReady();
  expect(output()).toContain(`http://127.0.0.1:${port}/v1`);
  await until(() => output().match(/^curl /gm)?.length === 3, { what: 'three lines to paste' });
});

it('leaves nothing when it is killed outright, and the next one starts within 5 s', async () => {
  const { child, exited } = await startReady();
  child.kill('SIGKILL');
  await exited;
  const fromMs = performance.now();
  const next = await startReady();
  expect(performance.now() - fromMs).toBeLessThan(5000 * PATIENCE);
  const before = new Set(
    events('up')
      .slice(0, APPS.length)
      .flatMap((e) => [e.pid, e.childPid]),
  );
  await until(() => ours().every((pid) => !before.has(pid)), {
    timeoutMs: 8000,
    what: 'those of the first one are gone',
  });
  next.child.kill('SIGTERM');
  expect(await next.exited).toBe(0);
});

it('brings a killed worker back within 3 s', async () => {
  const { output } = await startReady();
  const killed = events('up').find((event) => event.app === 'tts-worker');
  const fromMs = performance.now();
  signalGroup(killed?.pid ?? 0, 'SIGKILL');
  await until(() => events('up').filter((event) => event.app === 'tts-worker').length === 2);
  expect(performance.now() - fromMs).toBeLessThan(3000 * PATIENCE);
  expect(output()).toContain('tts-worker was ended by SIGKILL; starting it again in 0.2 s');
});

it('brings a killed Redis back at the same address', async () => {
  await startReady();
  const redis = ours().find(isRedis) ?? 0;
  const [address] = commandLine(redis);
  process.kill(redis, 'SIGKILL');
  const next = await until(() => ours().find((pid) => isRedis(pid) && pid !== redis));
  await until(() => commandLine(next)[0]?.includes(':'));
  expect(commandLine(next)[0]).toBe(address);
});

it('kills at once on a second signal later than 1 s', async () => {
  const { child, exited, output } = await startReady({ STUB_STUBBORN: '1' });
  child.kill('SIGINT');
  await until(() => output().includes('stopping'));
  const from = performance.now();
  await until(() => performance.now() - from > 1100);
  child.kill('SIGINT');
  expect(await exited).toBe(130);
});

it('refuses a second one beside it, by name', async () => {
  const { child } = await startReady();
  const second = start({ PORT: String(await freePort()) });
  expect(await second.exited).toBe(1);
  expect(second.output()).toContain(`runs already: process ${child.pid} since`);
});

it('refuses a port that somebody else has', async () => {
  const other = createServer((_request, response) => response.end('{}'));
  other.listen(port, '127.0.0.1');
  await once(other, 'listening');
  const { exited, output } = start();
  expect(await exited).toBe(1);
  expect(output()).toContain(`PORT: 127.0.0.1:${port} is in use`);
  other.close();
});

it('waits for a port whose owner is just going', async () => {
  const other = createServer((_request, response) => response.end('{}'));
  other.listen(port, '127.0.0.1');
  await once(other, 'listening');
  const started = start();
  // Its lock is there: it has begun, and looks at the port next.
  await until(() => existsSync(join(root, 'data', 'start.lock')));
  const closed = once(other, 'close');
  other.close();
  await closed;
  await until(() => started.output().includes('ready after'), { timeoutMs: 10_000 });
  expect(started.output()).not.toContain('is in use');
});

it.each(['gateway', 'stt-worker'])('gives up with its message when %s cannot run', async (app) => {
  const { exited, output } = start({ STUB_FAULT: app });
  expect(await exited).toBe(1);
  expect(output().match(/STUB_SETTING is not a number/g)).toHaveLength(1);
  expect(output()).toContain(`${app} cannot run: it exited with code 1`);
  expect(ours()).toEqual([]);
});

it('uses the Redis of REDIS_URL and starts none', async () => {
  await startReady({ REDIS_URL: 'redis://127.0.0.1:1' });
  expect(readdirSync(join(root, 'data'))).not.toContain('redis');
});

it('reads .env beside the apps', async () => {
  const fromFile = await freePort();
  writeFileSync(join(root, '.env'), `PORT=${fromFile}\n`);
  const { output } = await startReady({ PORT: undefined });
  expect(output()).toContain(`:${fromFile}/v1`);
});
