import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { RunReaper } from './run-reaper.ts';
import { onStopSignals } from './stop-signals.ts';

const ROOT = join(import.meta.dirname, '..');

let stopping = false;

/** Tests bring their own Redis and settings: what the shell holds for a real start is not theirs. */
function testEnvironment(given: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const environment = {
    ...given,
    ...{ TURBO_TELEMETRY_DISABLED: '1', DO_NOT_TRACK: '1' },
    // Tests start a few hundred processes: with it each is up after 0.4 s in place of 0.6.
    NODE_COMPILE_CACHE: join(ROOT, 'node_modules/.cache/node-compile'),
  };
  const example = readFileSync(join(ROOT, '.env.example'), 'utf8');
  const names = [...example.matchAll(/^#? ?([A-Z][A-Z0-9_]*)=/gm)].map(([, name]) => name ?? '');
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !names.includes(name)));
}

/** Runs a command with our output, in `folder` (from the root on, or absolute); true when it exits with 0. */
export function succeeds(
  [program = '', ...args]: readonly string[],
  env: NodeJS.ProcessEnv,
  folder = '.',
): Promise<boolean> {
  const child = spawn(program, args, {
    cwd: resolve(ROOT, folder),
    env,
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  return new Promise((resolve) => {
    child.on('error', () => resolve(false));
    child.on('exit', (code) => {
      if (!stopping) resolve(code === 0); // a stop ends the run here: no next step
    });
  });
}

/** The frame of a test command: its environment, its exit code, and nothing left behind at a stop. */
export async function runTests(run: (env: NodeJS.ProcessEnv) => Promise<number>): Promise<void> {
  const reaper = new RunReaper();
  const stop = () => {
    stopping = true;
    void reaper.end().finally(() => process.exit(130));
  };
  onStopSignals(stop, stop);
  try {
    process.exitCode = await run(reaper.mark(testEnvironment(process.env)));
  } catch (error) {
    console.error(`antiphon: ${error instanceof Error ? error.message : String(error)}`);
    process.exitCode = 1;
  }
  await reaper.end();
}
