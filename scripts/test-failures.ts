import { readFileSync, writeFileSync } from 'node:fs';
import { basename, join, relative } from 'node:path';
import { BROKEN_PROMISE } from '@antiphon/testing/invariant';

/** Its faults come at random to whatever runs just then: what it finds may not be found twice. */
const CHAOS_FILE = 'chaos.test.ts';

export interface TestFile {
  /** Absolute. */
  name: string;
  status: string;
  /** Why the file as a whole failed, '' unless it could not be loaded. */
  message: string;
  assertionResults: { fullName: string; status: string; failureMessages: string[] }[];
}

/** One that failed, as a person looks for it. */
export interface Failure {
  /** Absolute. */
  file: string;
  /** The test's whole name, or what is wrong with its file. */
  test: string;
  /** The first line of what it said. */
  reason: string;
  /** No accident of a busy machine: it counts though a second try would pass. */
  stands: boolean;
}

/** What vitest's JSON reporter wrote per file; none when the run left nothing to read. */
export function readTestFiles(resultFile: string): TestFile[] {
  try {
    return (JSON.parse(readFileSync(resultFile, 'utf8')) as { testResults: TestFile[] })
      .testResults;
  } catch {
    return [];
  }
}

/** Every failed test, and every file that failed without one. */
export function failuresOf(files: readonly TestFile[]): Failure[] {
  return files
    .filter(({ status }) => status === 'failed')
    .flatMap(({ name, message, assertionResults }): Failure[] => {
      const tests = assertionResults.filter(({ status }) => status === 'failed');
      if (tests.length === 0) return [failureOf(name, '(the file)', [message])];
      return tests.map(({ fullName, failureMessages }) =>
        failureOf(name, fullName, failureMessages),
      );
    });
}

function failureOf(file: string, test: string, messages: readonly string[]): Failure {
  const stands =
    basename(file) === CHAOS_FILE || messages.some((message) => message.includes(BROKEN_PROMISE));
  return { file, test, reason: firstLine(messages[0] ?? ''), stands };
}

/** `e2e/src/x.test.ts > its name: what it said`, with the path seen from `root`. */
export function describeFailure(root: string, { file, test, reason }: Failure): string {
  return `${relative(root, file)} > ${test}: ${reason}`;
}

/** Puts the files of a later run in the place of the same ones in `resultFile`, and counts anew. */
export function replaceFiles(resultFile: string, later: readonly TestFile[]): void {
  const names = new Set(later.map(({ name }) => name));
  const kept = readTestFiles(resultFile).filter(({ name }) => !names.has(name));
  const testResults = [...kept, ...later];
  const statuses = testResults.flatMap((file) => file.assertionResults.map((test) => test.status));
  const count = (...wanted: string[]) => statuses.filter((is) => wanted.includes(is)).length;
  const result = {
    numPassedTests: count('passed'),
    numFailedTests: count('failed'),
    numPendingTests: count('pending', 'skipped'),
    numTodoTests: count('todo'),
    success: testResults.every(({ status }) => status === 'passed'),
    testResults,
  };
  writeFileSync(resultFile, JSON.stringify(result));
}

/** A package's own test command, as words. */
export function testCommand(folder: string): string[] {
  const { scripts } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as {
    scripts: { test: string };
  };
  return scripts.test.split(/\s+/);
}

function firstLine(text: string): string {
  return text.split('\n', 1)[0] ?? '';
}
