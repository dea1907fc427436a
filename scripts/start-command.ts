import { once } from 'node:events';
import { createServer } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { consoleLog } from './console-log.ts';
import { preparePrivateRedis, redisAnswers, REDIS_PROGRAMS } from './private-redis.ts';
import { Stack, StackFailure } from './stack.ts';
import {
  type Environment,
  baseUrl,
  linesToPaste,
  loadDotEnv,
  startEnvironment,
  systemNeeds,
} from './start-environment.ts';
import { takeStartLock } from './start-lock.ts';
import { onStopSignals } from './stop-signals.ts';
import type { ProcessSpec } from './supervised-process.ts';
import { ensureSystemPackages, findProgram } from './system-packages.ts';

const WORKERS = ['llm-worker', 'tts-worker', 'stt-worker'];
const READY_TIMEOUT_MS = 60_000;
const DEFAULT_DRAIN_MS = 20_000;
const PORT_WAIT_MS = 3000;
const PORT_LOOK_MS = 50;
/** Beyond the drain, before a process that does not end is killed. */
const STOP_MARGIN_MS = 5000;

const startedAtMs = performance.now();

function say(text: string): void {
  console.log(`antiphon: ${text}`);
}

function appSpec(app: string, env: Environment, root: string): ProcessSpec {
  const drainMs = Number(env['SHUTDOWN_DRAIN_MS']) || DEFAULT_DRAIN_MS;
  return {
    name: app,
    command: [process.execPath, `apps/${app}/src/main.ts`],
    env,
    cwd: root,
    stopTimeoutMs: drainMs + STOP_MARGIN_MS,
  };
}

interface StartPlan {
  environment: Environment;
  /** The folder that holds `apps/`. */
  root: string;
}

/** Redis, workers, gateway; resolves when the gateway says that it is ready. */
async function bringUp(stack: Stack, plan: StartPlan, stopped: AbortSignal): Promise<void> {
  stopped.throwIfAborted();
  await refuseTakenPort(plan.environment, stopped);
  const signal = AbortSignal.any([stopped, stack.broken, AbortSignal.timeout(READY_TIMEOUT_MS)]);
  const env = { ...plan.environment };
  if (!env['REDIS_URL']) {
    const program = findProgram(REDIS_PROGRAMS) ?? REDIS_PROGRAMS[0];
    const redis = await preparePrivateRedis(program, env['DATA_DIR'] ?? '');
    env['REDIS_URL'] = redis.url;
    stack.startLayer([redis.spec]);
    await redisAnswers(redis.url, signal);
    say(`Redis runs (private, data in ${env['DATA_DIR']}/redis)`);
  }
  say(`starting gateway, ${WORKERS.join(', ')}`);
  stack.startLayer(WORKERS.map((worker) => appSpec(worker, env, plan.root)));
  stack.startLayer([appSpec('gateway', env, plan.root)]);
  await stack.untilReady(`${baseUrl(env)}/health/ready`, signal);
}

/**
 * Another server on our port would answer the readiness question in our gateway's place. The
 * gateway of a start that was killed outright follows it in a moment, for which is waited.
 */
async function refuseTakenPort(
  { HOST: host, PORT: port }: Environment,
  stopped: AbortSignal,
): Promise<void> {
  const untilMs = performance.now() + PORT_WAIT_MS;
  while (await isTaken(Number(port), host)) {
    stopped.throwIfAborted();
    if (performance.now() > untilMs)
      throw new Error(`PORT: ${host}:${port} is in use by another process.`);
    await delay(PORT_LOOK_MS);
  }
}

/** Anything else that is wrong with the address is for the gateway to say. */
async function isTaken(port: number, host: string | undefined): Promise<boolean> {
  const server = createServer();
  try {
    server.listen(port, host);
    await once(server, 'listening');
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EADDRINUSE';
  } finally {
    server.close();
  }
}

function announce(environment: Environment): void {
  const seconds = ((performance.now() - startedAtMs) / 1000).toFixed(1);
  say(`ready after ${seconds} s on ${baseUrl(environment)}/v1 (Ctrl-C stops it). Try:\n`);
  for (const line of linesToPaste(environment)) console.log(line);
  console.log('\nOr talk with it: npm run antiphon -- chat\n');
}

function explain(reason: unknown): void {
  if (reason instanceof StackFailure) for (const line of reason.lines) console.error(line);
  const timedOut = reason instanceof Error && reason.name === 'TimeoutError';
  const message = reason instanceof Error ? reason.message : String(reason);
  console.error(
    timedOut ? `antiphon: not ready within ${READY_TIMEOUT_MS / 1000} s` : `antiphon: ${message}`,
  );
}

async function run(plan: StartPlan): Promise<number> {
  const { environment } = plan;
  const lock = takeStartLock(environment['DATA_DIR'] ?? '', baseUrl(environment));
  const stopped = new AbortController();
  const stack = new Stack({ line: consoleLog(environment, (line) => console.log(line)), say });
  onStopSignals(
    () => {
      say('stopping (again to kill at once)');
      stopped.abort();
    },
    () => {
      stack.kill();
      lock.release();
      process.exit(130);
    },
  );
  let exitCode = 0;
  try {
    await ensureSystemPackages(systemNeeds(environment), say);
    await bringUp(stack, plan, stopped.signal);
    announce(environment);
    if (!stopped.signal.aborted) await once(stopped.signal, 'abort');
  } catch (reason) {
    if (!stopped.signal.aborted) {
      explain(reason);
      exitCode = 1;
    }
  }
  await stack.stop();
  lock.release();
  return exitCode;
}

/**
 * The start command: brings up the apps under `root`/apps and keeps them up until a stop signal.
 * @returns the exit code
 */
export async function startCommand(root: string): Promise<number> {
  // The reader of our output may go first (`npm start | head`).
  process.stdout.on('error', () => {});
  process.stderr.on('error', () => {});
  if (process.platform !== 'linux') {
    explain(new Error('npm start is for Linux; elsewhere: docker compose up'));
    return 1;
  }
  try {
    loadDotEnv(root);
    return await run({ environment: startEnvironment(process.env, root), root });
  } catch (reason) {
    explain(reason);
    return 1;
  }
}
