import { globSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** Where each package's vitest writes its result, seen from the package's folder. */
export const RESULT_FILE = '.turbo/vitest.json';

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
export function forgetResults(packages: readonly string[]): void {
  for (const folder of packages) rmSync(join(folder, RESULT_FILE), { force: true });
}

/**
 * The sum over all packages. A run that left no result, or failed without a failed test (a file
 * that cannot be loaded, an error outside of any test), counts as one failure.
 */
export function sumResults(packages: readonly string[]): Tally {
  const tally: Tally = { passed: 0, failed: 0, skipped: 0 };
  for (const folder of packages) {
    const result = readResult(join(folder, RESULT_FILE));
    tally.passed += result?.numPassedTests ?? 0;
    tally.skipped += (result?.numPendingTests ?? 0) + (result?.numTodoTests ?? 0);
    tally.failed += result?.numFailedTests ?? 0;
    if (!result || (!result.success && result.numFailedTests === 0)) tally.failed += 1;
  }
  return tally;
}

function readResult(file: string): VitestResult | undefined {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as VitestResult;
  } catch {
    return undefined;
  }
}
