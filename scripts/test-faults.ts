/**
 * Runs every fault test: real processes, real Redis, broken networks.
 *
 *   npm run test:faults                 all of them
 *   npm run test:faults -- upstream     those of files whose name holds this
 *   npm run test:faults -- --after-tests   adds what the last `npm test` counted: the closing sum and
 *                                          the exit code are those of both
 */
import { join } from 'node:path';
import { runTests, succeeds } from './test-run.ts';
import { FFMPEG_NEED, REDIS_NEED, ensureSystemPackages } from './system-packages.ts';
import { describeFailures, failuresIn, trySecond } from './second-try.ts';
import { forgetResults, readSum, readTally } from './test-tally.ts';

const ROOT = join(import.meta.dirname, '..');
const RESULT_FILE = '.turbo/faults.json';
const AFTER_TESTS = '--after-tests';

const given = process.argv.slice(2);

await runTests(async (env) => {
  const startedAtMs = performance.now();
  await ensureSystemPackages([REDIS_NEED, FFMPEG_NEED], (text) => console.log(`antiphon: ${text}`));
  const folder = join(ROOT, 'e2e');
  forgetResults([folder], RESULT_FILE);
  const command = ['vitest', 'run', '--config', 'fault/vitest.config.ts'];
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${RESULT_FILE}`];
  const names = given.filter((argument) => argument !== AFTER_TESTS);
  const firstSucceeded = await succeeds([...command, ...reporters, ...names], env, folder);
  const tested = [{ folder, resultFile: RESULT_FILE, command }];
  const firstFailures = failuresIn(tested);
  const succeeded =
    firstSucceeded || (await trySecond(tested, (again, at) => succeeds(again, env, at)));
  const faults = readTally(folder, RESULT_FILE);
  const seconds = Math.round((performance.now() - startedAtMs) / 1000);
  console.log(
    `\nantiphon: fault tests: ${faults.passed} passed, ${faults.failed} failed, in ${seconds} s`,
  );
  // A fault that nobody looked at counts as one that broke something.
  if (faults.skipped > 0) console.log(`antiphon: ${faults.skipped} skipped: that is a failure`);
  const before = given.includes(AFTER_TESTS)
    ? readSum(ROOT)
    : { passed: 0, failed: 0, failures: [] };
  const failures = describeFailures(ROOT, firstFailures, failuresIn(tested));
  for (const line of [...before.failures, ...failures]) console.log(`antiphon: ${line}`);
  const failed = faults.failed + faults.skipped + before.failed;
  console.log(`${faults.passed + before.passed} passed, ${failed} failed`);
  return succeeded && failed === 0 ? 0 : 1;
});
