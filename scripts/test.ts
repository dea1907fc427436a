import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { RunReaper } from './run-reaper.ts';
import { espeakNeed, pocketsphinxNeed } from './start-environment.ts';
import { onStopSignals } from './stop-signals.ts';
import {
  FFMPEG_NEED,
  REDIS_NEED,
  SPEAKER_TEST_NEEDS,
  ensureSystemPackages,
} from './system-packages.ts';
import { RESULT_FILE, forgetResults, sumResults, testedPackages } from './test-tally.ts';

const ROOT = join(import.meta.dirname, '..');
/** turbo wants the package manager on PATH. */
const TURBO = ['npx', '--yes', 'pnpm@12', 'exec', 'turbo'];
const RUN_TURBO = [...TURBO, 'run', '--ui=stream', '--continue=always'];

const CHECKS: readonly (readonly [name: string, command: readonly string[]])[] = [
  ['format', ['oxfmt', '--check', '.']],
  ['lint', ['oxlint', '--type-aware']],
  ['boundaries', [...TURBO, 'boundaries']],
  ['unused', ['knip', '--no-config-hints']],
  ['types', [...RUN_TURBO, 'check', '--output-logs=errors-only']],
];
/** One package after the other: on two cores their timings would disturb each other. */
const TESTS = [
  ...RUN_TURBO,
  'test',
  '--concurrency=1',
  '--',
  '--reporter=default',
  '--reporter=json',
  `--outputFile.json=${RESULT_FILE}`,
];

let stopping = false;

/** Tests bring their own Redis and settings: what the shell holds for a real start is not theirs. */
function testEnvironment(given: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const environment = { ...given, TURBO_TELEMETRY_DISABLED: '1', DO_NOT_TRACK: '1' };
  const example = readFileSync(join(ROOT, '.env.example'), 'utf8');
  const names = [...example.matchAll(/^#? ?([A-Z][A-Z0-9_]*)=/gm)].map(([, name]) => name ?? '');
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !names.includes(name)));
}

/** Runs a command with our output; true when it exits with 0. */
function succeeds(
  [program = '', ...args]: readonly string[],
  env: NodeJS.ProcessEnv,
): Promise<boolean> {
  const child = spawn(program, args, { cwd: ROOT, env, stdio: ['ignore', 'inherit', 'inherit'] });
  return new Promise((resolve) => {
    child.on('error', () => resolve(false));
    child.on('exit', (code) => {
      if (!stopping) resolve(code === 0); // a stop ends the run here: no next step
    });
  });
}

/** What the tests need from the system; a desktop whose sound server is another keeps it. */
async function installNeeds(): Promise<void> {
  const say = (text: string) => console.log(`antiphon: ${text}`);
  await ensureSystemPackages([REDIS_NEED, FFMPEG_NEED, pocketsphinxNeed({}), espeakNeed({})], say);
  await ensureSystemPackages(SPEAKER_TEST_NEEDS, say).catch((error: Error) => {
    say(`${error.message}\nantiphon: the tests of the speaker are skipped`);
  });
}

async function runEverything(env: NodeJS.ProcessEnv): Promise<number> {
  const startedAtMs = performance.now();
  await installNeeds();
  const failedChecks: string[] = [];
  for (const [name, command] of CHECKS) {
    console.log(`\nantiphon: check ${name}`);
    if (!(await succeeds(command, env))) failedChecks.push(name);
  }
  console.log('\nantiphon: tests');
  const packages = testedPackages(ROOT);
  forgetResults(packages);
  const testsSucceeded = await succeeds(TESTS, env);
  const { passed, failed, skipped } = sumResults(packages);
  const seconds = Math.round((performance.now() - startedAtMs) / 1000);
  console.log(`\nantiphon: ${packages.length} packages in ${seconds} s`);
  if (failedChecks.length > 0) console.log(`antiphon: failed checks: ${failedChecks.join(', ')}`);
  if (skipped > 0) console.log(`antiphon: ${skipped} skipped`);
  console.log(`${passed} passed, ${failed + failedChecks.length} failed`);
  return testsSucceeded && failed === 0 && failedChecks.length === 0 ? 0 : 1;
}

const reaper = new RunReaper();
const stop = () => {
  stopping = true;
  void reaper.end().finally(() => process.exit(130));
};
onStopSignals(stop, stop);
try {
  process.exitCode = await runEverything(reaper.mark(testEnvironment(process.env)));
} catch (error) {
  console.error(`antiphon: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
await reaper.end();
