import { rmSync } from 'node:fs';
import { join } from 'node:path';
import {
  describeFailure,
  failuresOf,
  readTestFiles,
  replaceFiles,
  testCommand,
  type Failure,
} from './test-failures.ts';

/** More failures than these are no accident of a busy machine, and stand. */
const MOST_FAILURES = 5;
const AGAIN_FILE = '.turbo/vitest-again.json';

export interface TestedFolder {
  folder: string;
  /** Where the first run left its JSON, seen from `folder`. */
  resultFile: string;
  /** Unless given, the package's own test command. */
  command?: readonly string[];
}

/**
 * With `TEST_SECOND_TRY` set (`.ci/run`), runs the files of a few failed tests once more, alone, and
 * lets what they say then count: a machine that stood still for a second must not refuse a change.
 * The first failures are told all the same, so that nobody mistakes the run for a clean one. Where
 * one of them stands whatever a second run would say, there is none. Returns whether every file has
 * passed by now.
 */
export async function trySecond(
  tested: readonly TestedFolder[],
  run: (command: readonly string[], folder: string) => Promise<boolean>,
): Promise<boolean> {
  const failures = failuresIn(tested);
  const isWorthIt =
    failures.length > 0 &&
    failures.length <= MOST_FAILURES &&
    !failures.some(({ stands }) => stands);
  if (!process.env['TEST_SECOND_TRY'] || !isWorthIt) return false;
  for (const one of tested) await runAgain(one, run);
  return failuresIn(tested).length === 0;
}

/** A line for each failure that stands, or stood before the second try. */
export function describeFailures(
  root: string,
  first: readonly Failure[],
  left: readonly Failure[],
): string[] {
  const isLeft = ({ file, test }: Failure) =>
    left.some((other) => other.file === file && other.test === test);
  return [
    ...left.map((failure) => `failed: ${describeFailure(root, failure)}`),
    ...first
      .filter((failure) => !isLeft(failure))
      .map((failure) => `passed on the second try only: ${describeFailure(root, failure)}`),
  ];
}

export function failuresIn(tested: readonly TestedFolder[]): Failure[] {
  return tested.flatMap(({ folder, resultFile }) =>
    failuresOf(readTestFiles(join(folder, resultFile))),
  );
}

async function runAgain(
  { folder, resultFile, command = testCommand(folder) }: TestedFolder,
  run: (command: readonly string[], folder: string) => Promise<boolean>,
): Promise<void> {
  const failed = failuresOf(readTestFiles(join(folder, resultFile)));
  const files = [...new Set(failed.map(({ file }) => file))];
  if (files.length === 0) return;
  const againFile = join(folder, AGAIN_FILE);
  rmSync(againFile, { force: true });
  console.log(`\nantiphon: a second try in ${folder}`);
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${AGAIN_FILE}`];
  await run([...command, '--maxWorkers=1', ...reporters, ...files], folder);
  replaceFiles(join(folder, resultFile), readTestFiles(againFile));
}
