import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { LoadTarget } from './load-plan.ts';
import { Program, freePort } from './program.ts';

export type SideName = 'direct' | 'antiphon' | 'portkey';

/** One way to the upstream. */
export interface Side {
  name: SideName;
  target: LoadTarget;
  /** What stands between client and upstream. */
  programs: Program[];
}

const REPOSITORY = join(import.meta.dirname, '..', '..');
const PEER_FOLDER = join(import.meta.dirname, '..', 'peer');
const START_PATIENCE_MS = 30_000;

export interface StartOptions {
  upstreamPort: number;
  /** A folder of this run; removed after it. */
  scratchFolder: string;
  /** Where to put CPU profiles; none are taken without it. */
  profileFolder?: string;
}

export function directSide({ upstreamPort }: StartOptions): Side {
  return { name: 'direct', target: { port: upstreamPort, headers: {} }, programs: [] };
}

async function ready(programs: Program[], url: string, sign: string): Promise<void> {
  const deadlineMs = performance.now() + START_PATIENCE_MS;
  for (;;) {
    const answer = await fetch(url)
      .then((response) => response.text())
      .catch(() => '');
    if (answer.includes(sign)) return;
    const dead = programs.find((program) => !program.alive);
    if (dead) throw new Error(`${dead.name} stopped. ${dead.lastWords}`);
    if (performance.now() > deadlineMs) {
      throw new Error(
        `Not ready: ${url}\n${programs.map((program) => program.lastWords).join('\n')}`,
      );
    }
    await delay(50);
  }
}

/** A gateway that finds no Redis at its start gives up at once, by design. */
async function listening(program: Program, port: number): Promise<void> {
  for (;;) {
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const socket = connect(port, '127.0.0.1', () => resolve(true)).once('error', () =>
      resolve(false),
    );
    const open = await promise;
    socket.destroy();
    if (open) return;
    if (!program.alive) throw new Error(`${program.name} stopped. ${program.lastWords}`);
    await delay(20);
  }
}

/** The settings of the private Redis of `npm start`. */
function startRedis(port: number, folder: string): Program {
  mkdirSync(folder, { recursive: true });
  const configFile = join(folder, 'redis.conf');
  const settings = [
    'bind 127.0.0.1',
    `port ${port}`,
    `dir "${folder}"`,
    'loglevel warning',
    'save ""',
    'appendonly yes',
    'appendfsync everysec',
    'maxmemory-policy noeviction',
    'client-output-buffer-limit pubsub 64mb 16mb 30',
  ];
  writeFileSync(configFile, settings.join('\n'));
  const command = ['redis-server', 'valkey-server'].find(
    (name) => spawnSync(name, ['--version']).status === 0,
  );
  if (!command) throw new Error('The bench needs redis-server or valkey-server.');
  return new Program({ name: 'redis', command, args: [configFile], env: {} });
}

function startApp(
  name: string,
  env: Record<string, string>,
  { profileFolder, scratchFolder }: StartOptions,
): Program {
  const profiling = profileFolder
    ? ['--cpu-prof', `--cpu-prof-dir=${profileFolder}`, `--cpu-prof-name=${name}.cpuprofile`]
    : [];
  return new Program({
    name,
    command: process.execPath,
    args: [...profiling, join(REPOSITORY, 'apps', name, 'src', 'main.ts')],
    env: { DATA_DIR: scratchFolder, LOG_LEVEL: 'warn', NODE_ENV: 'production', ...env },
    cwd: scratchFolder,
  });
}

/** The workers of a side: the folder of the app, a model it announces, and its own variables. */
const WORKERS = {
  llm: {
    app: 'llm-worker',
    model: 'bench',
    env: { AI_SERVICE: 'openai', LLM_OPENAI_MODELS: 'bench' },
  },
  tts: {
    app: 'tts-worker',
    model: 'bench-voice',
    env: { TTS_SERVICE: 'openai', TTS_OPENAI_MODELS: 'bench-voice', TTS_OPENAI_VOICES: 'bench' },
  },
  demo: { app: 'llm-worker', model: 'demo', env: { AI_SERVICE: 'demo' } },
  flite: { app: 'tts-worker', model: 'flite', env: { TTS_SERVICE: 'flite' } },
};

/** A gateway, these workers, and a Redis of their own, each a process. Log and fence are always on. */
export async function startAntiphon(
  options: StartOptions,
  workers: readonly (keyof typeof WORKERS)[] = ['llm'],
): Promise<Side> {
  const redisPort = await freePort();
  const port = await freePort();
  const redis = startRedis(redisPort, join(options.scratchFolder, 'redis'));
  const REDIS_URL = `redis://127.0.0.1:${redisPort}`;
  const programs = [redis];
  try {
    await listening(redis, redisPort);
    programs.push(
      startApp('gateway', { REDIS_URL, PORT: String(port), HOST: '127.0.0.1' }, options),
      ...workers.map((worker) => {
        const { app, env } = WORKERS[worker];
        const OPENAI_BASE_URL = `http://127.0.0.1:${options.upstreamPort}/v1`;
        return startApp(app, { REDIS_URL, HEALTH_PORT: '0', OPENAI_BASE_URL, ...env }, options);
      }),
    );
    const url = `http://127.0.0.1:${port}/v1/models`;
    for (const worker of workers) await ready(programs, url, `"${WORKERS[worker].model}"`);
  } catch (error) {
    await stopSide({ programs });
    throw error;
  }
  return { name: 'antiphon', target: { port, headers: {} }, programs };
}

/** Ends what was started last first, so that Redis outlives those who need it. */
export async function stopSide({ programs }: Pick<Side, 'programs'>): Promise<void> {
  for (const program of programs.toReversed()) await program.stop();
}

/** The peer on the same stack, in its production mode, on the same Node. */
export async function startPortkey({ upstreamPort }: StartOptions): Promise<Side> {
  installPeer();
  const port = await freePort();
  const program = new Program({
    name: 'portkey',
    command: process.execPath,
    args: [
      'node_modules/@portkey-ai/gateway/build/start-server.js',
      '--headless',
      `--port=${port}`,
    ],
    env: { NODE_ENV: 'production', TRUSTED_CUSTOM_HOSTS: '127.0.0.1' },
    cwd: PEER_FOLDER,
  });
  try {
    await ready([program], `http://127.0.0.1:${port}/`, 'Gateway');
  } catch (error) {
    await program.stop();
    throw error;
  }
  const headers = {
    authorization: 'Bearer bench',
    'x-portkey-provider': 'openai',
    'x-portkey-custom-host': `http://127.0.0.1:${upstreamPort}/v1`,
  };
  return { name: 'portkey', target: { port, headers }, programs: [program] };
}

/** Once per clone. Without install scripts: the package's own wants to patch nothing. */
function installPeer(): void {
  if (existsSync(join(PEER_FOLDER, 'node_modules', '.package-lock.json'))) return;
  console.error('Installing the peer (bench/peer)…');
  const installed = spawnSync('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], {
    cwd: PEER_FOLDER,
    encoding: 'utf8',
  });
  if (installed.status !== 0) throw new Error(`npm ci in bench/peer: ${installed.stderr}`);
}
