import { join } from 'node:path';
import { espeakNeed, pocketsphinxNeed } from './start-environment.ts';
import {
  FFMPEG_NEED,
  REDIS_NEED,
  SPEAKER_TEST_NEEDS,
  ensureSystemPackages,
} from './system-packages.ts';
import {
  RESULT_FILE,
  forgetResults,
  forgetSum,
  keepSum,
  sumResults,
  testedPackages,
} from './test-tally.ts';
import { runTests, succeeds } from './test-run.ts';
import { describeFailures, failuresIn, trySecond } from './second-try.ts';

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
/**
 * One package after the other, and as many files of it as there are cores (`TEST_WORKERS` unless
 * set), since most tests wait most of their time: on two cores one file at a time takes twice as long.
 */
const TESTS = [
  ...RUN_TURBO,
  'test',
  '--concurrency=1',
  '--',
  `--maxWorkers=${process.env['TEST_WORKERS'] || '100%'}`,
  '--reporter=default',
  '--reporter=json',
  `--outputFile.json=${RESULT_FILE}`,
];

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
  forgetSum(ROOT);
  await installNeeds();
  const failedChecks: string[] = [];
  for (const [name, command] of CHECKS) {
    console.log(`\nantiphon: check ${name}`);
    if (!(await succeeds(command, env))) failedChecks.push(name);
  }
  console.log('\nantiphon: tests');
  const packages = testedPackages(ROOT);
  forgetResults(packages);
  const tested = packages.map((folder) => ({ folder, resultFile: RESULT_FILE }));
  const firstSucceeded = await succeeds(TESTS, env);
  const firstFailures = failuresIn(tested);
  const testsSucceeded =
    firstSucceeded || (await trySecond(tested, (command, at) => succeeds(command, env, at)));
  const { passed, failed, skipped } = sumResults(packages);
  const seconds = Math.round((performance.now() - startedAtMs) / 1000);
  console.log(`\nantiphon: ${packages.length} packages in ${seconds} s`);
  const failures = [
    ...failedChecks.map((name) => `failed: check ${name}`),
    ...describeFailures(ROOT, firstFailures, failuresIn(tested)),
  ];
  for (const line of failures) console.log(`antiphon: ${line}`);
  if (skipped > 0) console.log(`antiphon: ${skipped} skipped`);
  const allFailed = Math.max(failed + failedChecks.length, testsSucceeded ? 0 : 1);
  keepSum(ROOT, { passed, failed: allFailed, failures });
  console.log(`${passed} passed, ${allFailed} failed`);
  return allFailed === 0 ? 0 : 1;
}

await runTests(runEverything);
