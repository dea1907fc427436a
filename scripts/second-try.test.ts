import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expectUnbroken } from '@antiphon/testing/invariant';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { describeFailures, failuresIn, trySecond } from './second-try.ts';
import { readTally } from './test-tally.ts';

const FIRST = '.turbo/vitest.json';
const AGAIN = '.turbo/vitest-again.json';
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'antiphon-second-'));
  mkdirSync(join(folder, '.turbo'));
  writeFileSync(join(folder, 'package.json'), '{"scripts":{"test":"vitest run --dir src"}}');
  vi.stubEnv('TEST_SECOND_TRY', '1');
});
afterEach(() => {
  rmSync(folder, { recursive: true });
  vi.unstubAllEnvs();
});

/** A file's result: `late` is a failed test, all others pass. */
function fileResult(name: string, ...tests: string[]) {
  const status = (test: string) => (test === 'late' ? 'failed' : 'passed');
  return {
    name: join(folder, name),
    status: tests.includes('late') ? 'failed' : 'passed',
    message: '',
    assertionResults: tests.map((test, index) => ({
      fullName: test === 'late' ? `test ${index}` : test,
      status: status(test),
      failureMessages: test === 'late' ? ['Error: 2 s late\n    at x.ts:1'] : [],
    })),
  };
}

type FileResult = ReturnType<typeof fileResult>;

function leave(file: string, ...testResults: FileResult[]) {
  const tests = testResults.flatMap(({ assertionResults }) => assertionResults);
  const failed = tests.filter(({ status }) => status === 'failed').length;
  writeFileSync(
    join(folder, file),
    JSON.stringify({
      ...{ numPassedTests: tests.length - failed, numFailedTests: failed },
      ...{ numPendingTests: 0, numTodoTests: 0, success: failed === 0, testResults },
    }),
  );
}

const tested = () => [{ folder, resultFile: FIRST }];

it('runs the failed file alone, by the command of its package, and counts what it says then', async () => {
  leave(FIRST, fileResult('a.test.ts', 'well', 'late'), fileResult('b.test.ts', 'fine'));
  const first = failuresIn(tested());
  const commands: string[][] = [];
  const passed = await trySecond(tested(), async (command) => {
    commands.push([...command]);
    leave(AGAIN, fileResult('a.test.ts', 'well', 'test 1'));
    return true;
  });
  expect(passed).toBe(true);
  expect(commands).toHaveLength(1);
  expect(commands[0]?.slice(0, 5)).toEqual(['vitest', 'run', '--dir', 'src', '--maxWorkers=1']);
  expect(commands[0]?.at(-1)).toBe(join(folder, 'a.test.ts'));
  expect(readTally(folder)).toEqual({ passed: 3, failed: 0, skipped: 0 });
  expect(describeFailures(folder, first, failuresIn(tested()))).toEqual([
    'passed on the second try only: a.test.ts > test 1: Error: 2 s late',
  ]);
});

it('leaves a test that fails twice failed', async () => {
  leave(FIRST, fileResult('a.test.ts', 'well', 'late'));
  const first = failuresIn(tested());
  const passed = await trySecond(tested(), async () => {
    leave(AGAIN, fileResult('a.test.ts', 'well', 'late'));
    return false;
  });
  expect(passed).toBe(false);
  expect(readTally(folder)).toEqual({ passed: 1, failed: 1, skipped: 0 });
  expect(describeFailures(folder, first, failuresIn(tested()))).toEqual([
    'failed: a.test.ts > test 1: Error: 2 s late',
  ]);
});

it('leaves the first result where the second try leaves none', async () => {
  leave(FIRST, fileResult('a.test.ts', 'late'));
  expect(await trySecond(tested(), async () => false)).toBe(false);
  expect(readTally(folder)).toMatchObject({ passed: 0, failed: 1 });
});

it('counts a file that cannot be loaded as a failure, and tries it again', async () => {
  leave(FIRST, { ...fileResult('a.test.ts'), status: 'failed', message: 'Error: no such file' });
  expect(failuresIn(tested())).toEqual([
    {
      ...{ file: join(folder, 'a.test.ts'), test: '(the file)', reason: 'Error: no such file' },
      stands: false,
    },
  ]);
  let runs = 0;
  await trySecond(tested(), async () => {
    runs += 1;
    return false;
  });
  expect(runs).toBe(1);
});

it('tries nothing again where a stream broke its promise, or chaos found something', async () => {
  const never = () => Promise.reject(new Error('ran again'));
  let message = '';
  try {
    expectUnbroken(['token 3 is t4']);
  } catch (error) {
    message = String((error as Error).stack);
  }
  const brokenFile = fileResult('a.test.ts', 'late');
  brokenFile.assertionResults[0]?.failureMessages.push(message);
  leave(FIRST, brokenFile, fileResult('b.test.ts', 'late'));
  expect(await trySecond(tested(), never)).toBe(false);
  leave(FIRST, fileResult('chaos.test.ts', 'late'));
  expect(await trySecond(tested(), never)).toBe(false);
  expect(readTally(folder)).toMatchObject({ failed: 1 });
});

it('tries nothing again without being asked, and nothing when much is broken', async () => {
  const never = () => Promise.reject(new Error('ran again'));
  leave(FIRST, fileResult('a.test.ts', ...Array<string>(6).fill('late')));
  expect(await trySecond(tested(), never)).toBe(false);
  expect(readTally(folder)).toMatchObject({ failed: 6 });
  leave(FIRST, fileResult('a.test.ts', 'late'));
  vi.stubEnv('TEST_SECOND_TRY', '');
  expect(await trySecond(tested(), never)).toBe(false);
  expect(JSON.parse(readFileSync(join(folder, FIRST), 'utf8'))).toMatchObject({ success: false });
});
