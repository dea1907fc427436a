import { globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** Where each package's vitest writes its result, seen from the package's folder. */
export const RESULT_FILE = '.turbo/vitest.json';

/** Where `npm test` leaves its sum, seen from the root. */
const SUM_FILE = '.turbo/tests.json';

export interface Tally {
  passed: number;
  failed: number;
  skipped: number;
}

interface VitestResult {
  numPassedTests: number;
  numFailedTests: number;
  numPendingTests: number;
  numTodoTests: number;
  success: boolean;
}

/** The folders of the packages under `root` that have tests, in order. */
export function testedPackages(root: string): string[] {
  return globSync(['*/package.json', '*/*/package.json'], {
    cwd: root,
    exclude: (name) => name.split('/').includes('node_modules'),
  })
    .filter((file) => {
      const { scripts } = JSON.parse(readFileSync(join(root, file), 'utf8')) as {
        scripts?: { test?: string };
      };
      return scripts?.test !== undefined;
    })
    .map((file) => join(root, dirname(file)))
    .toSorted();
}

/** Removes earlier results, so that none is counted again. */
export function forgetResults(packages: readonly string[], file = RESULT_FILE): void {
  for (const folder of packages) rmSync(join(folder, file), { force: true });
}

/** The sum over all packages. */
export function sumResults(packages: readonly string[]): Tally {
  const tally: Tally = { passed: 0, failed: 0, skipped: 0 };
  for (const folder of packages) {
    const { passed, failed, skipped } = readTally(folder);
    tally.passed += passed;
    tally.failed += failed;
    tally.skipped += skipped;
  }
  return tally;
}

/**
 * One package's result. A run that left none, or failed without a failed test (a file that cannot
 * be loaded, an error outside of any test), counts as one failure.
 */
export function readTally(folder: string, file = RESULT_FILE): Tally {
  const result = readResult(join(folder, file));
  const failed = result?.numFailedTests ?? 0;
  const isBroken = !result || (!result.success && failed === 0);
  return {
    passed: result?.numPassedTests ?? 0,
    failed: isBroken ? failed + 1 : failed,
    skipped: (result?.numPendingTests ?? 0) + (result?.numTodoTests ?? 0),
  };
}

/** What `npm test` leaves to whoever adds to it. */
export interface Sum {
  passed: number;
  /** Failed checks among it. */
  failed: number;
  /** A line for each failure, to be told at the end. */
  failures: readonly string[];
}

export function keepSum(root: string, sum: Sum): void {
  mkdirSync(join(root, dirname(SUM_FILE)), { recursive: true });
  writeFileSync(join(root, SUM_FILE), JSON.stringify(sum));
}

export function forgetSum(root: string): void {
  rmSync(join(root, SUM_FILE), { force: true });
}

/** What the last `npm test` counted; one that never came to its end counts as one failure. */
export function readSum(root: string): Sum {
  try {
    return JSON.parse(readFileSync(join(root, SUM_FILE), 'utf8')) as Sum;
  } catch {
    return { passed: 0, failed: 1, failures: ['failed: npm test did not come to its end'] };
  }
}

function readResult(file: string): VitestResult | undefined {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as VitestResult;
  } catch {
    return undefined;
  }
}
