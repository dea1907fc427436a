import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort, type RedisServer, startRedis } from '@antiphon/testing/redis';
import { until } from '@antiphon/testing/until';

type AppName = 'gateway' | 'llm-worker' | 'tts-worker' | 'stt-worker';

/** One real process of ours. */
export interface AppProcess {
  name: AppName;
  pid: number;
  child: ChildProcess;
  /** All it wrote, both streams. */
  output: () => string;
  /** Sends a signal and resolves with the exit code (null when killed). */
  stop(signal?: NodeJS.Signals): Promise<number | null>;
}

export interface Stack {
  /** `http://127.0.0.1:<port>/v1` */
  baseUrl: string;
  /** The same without `/v1`. */
  rootUrl: string;
  redis: RedisServer;
  dataDirectory: string;
  processes: AppProcess[];
  /** Starts one more process with the stack's environment. */
  start(name: AppName, environment?: Record<string, string>): AppProcess;
  /** Waits until `GET /v1/models` lists `model`: a living worker announces it. */
  untilModel(model: string): Promise<void>;
  close(): Promise<void>;
}

export interface StackOptions {
  apps: AppName[];
  /** For every process; `NAME` or, for one app only, `llm-worker:NAME`. */
  environment?: Record<string, string>;
  /** Models that must be listed before the stack counts as up. */
  models: string[];
  /** Of Redis; none unless told. */
  redisPassword?: string;
  /** One of `API_KEYS`, where the gateway has any. */
  apiKey?: string;
}

/** Everything of the outside world that a process of ours needs; nothing else of the test's environment. */
const INHERITED = [
  'PATH',
  'HOME',
  'TMPDIR',
  'TEST_PATIENCE',
  'NODE_COMPILE_CACHE',
  'NODE_V8_COVERAGE',
];

/** Starts Redis and the given apps as processes of their own, and waits for their models. */
export async function startStack({
  apps,
  environment = {},
  models,
  apiKey,
  redisPassword,
}: StackOptions): Promise<Stack> {
  const redis = await startRedis(redisPassword ? ['--requirepass', redisPassword] : []);
  const redisUrl = redisPassword ? `redis://:${redisPassword}@127.0.0.1:${redis.port}` : redis.url;
  const dataDirectory = await mkdtemp(join(tmpdir(), 'antiphon-e2e-'));
  const port = await freePort();
  const processes: AppProcess[] = [];
  const rootUrl = `http://127.0.0.1:${port}`;

  const start = (name: AppName, extra: Record<string, string> = {}): AppProcess => {
    const own = Object.entries(environment).flatMap(([key, value]) => {
      if (!key.includes(':')) return [[key, value]];
      const [app = '', variable = ''] = key.split(':', 2);
      return app === name ? [[variable, value]] : [];
    });
    const inherited = INHERITED.flatMap((key) =>
      process.env[key] === undefined ? [] : [[key, process.env[key]]],
    );
    const started = startApp(name, {
      ...Object.fromEntries(inherited),
      REDIS_URL: redisUrl,
      DATA_DIR: dataDirectory,
      PORT: String(port),
      LOG_LEVEL: 'info',
      LOCK_DURATION_MS: '2000',
      STALLED_INTERVAL_MS: '1000',
      ...Object.fromEntries(own),
      ...extra,
    });
    processes.push(started);
    return started;
  };
  const untilModel = async (model: string) => {
    await until(() => listed(rootUrl, model, apiKey), {
      timeoutMs: 10_000,
      what: `model ${model}`,
    });
  };
  const close = async () => {
    await Promise.all(processes.map((started) => started.stop('SIGKILL')));
    await redis.close();
    await rm(dataDirectory, { recursive: true, force: true });
  };
  try {
    for (const name of apps) start(name);
    for (const model of models) await untilModel(model);
  } catch (error) {
    const outputs = processes.map(({ name, output }) => `--- ${name}\n${output()}`).join('\n');
    await close();
    throw new Error(`the stack did not come up:\n${outputs}`, { cause: error });
  }
  return {
    baseUrl: `${rootUrl}/v1`,
    rootUrl,
    redis,
    dataDirectory,
    processes,
    start,
    untilModel,
    close,
  };
}

async function listed(rootUrl: string, model: string, apiKey = ''): Promise<boolean> {
  const headers = { authorization: `Bearer ${apiKey}` };
  const response = await fetch(`${rootUrl}/v1/models`, { headers }).catch(() => undefined);
  if (response?.status !== 200) return false;
  const { data } = (await response.json()) as { data: { id: string }[] };
  return data.some(({ id }) => id === model);
}

function startApp(name: AppName, environment: NodeJS.ProcessEnv): AppProcess {
  const main = new URL(`../../apps/${name}/src/main.ts`, import.meta.url).pathname;
  // It dies with the test, also when that is killed outright; the process id is the app's.
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', '--', process.execPath, main], {
    env: environment,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (part: Buffer) => {
      output += part.toString();
    });
  }
  return {
    name,
    pid: child.pid ?? 0,
    child,
    output: () => output,
    async stop(signal = 'SIGTERM') {
      if (child.exitCode === null && child.signalCode === null) {
        const exited = once(child, 'exit');
        child.kill(signal);
        await exited;
      }
      return child.exitCode;
    },
  };
}

/** Resident memory of a process, bytes. */
export async function residentBytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1] ?? 0) * 1024;
}
