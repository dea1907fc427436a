import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import {
  RESULT_FILE,
  forgetResults,
  forgetSum,
  keepSum,
  readSum,
  sumResults,
  testedPackages,
} from './test-tally.ts';

let root: string;
beforeEach(() => (root = mkdtempSync(join(tmpdir(), 'antiphon-tally-'))));
afterEach(() => rmSync(root, { recursive: true }));

function addPackage(folder: string, result?: object, scripts: object = { test: 'vitest run' }) {
  mkdirSync(join(root, folder, '.turbo'), { recursive: true });
  writeFileSync(join(root, folder, 'package.json'), JSON.stringify({ scripts }));
  if (result) writeFileSync(join(root, folder, RESULT_FILE), JSON.stringify(result));
}

const result = (passed: number, failed: number, more: object = {}) => ({
  numPassedTests: passed,
  numFailedTests: failed,
  numPendingTests: 0,
  numTodoTests: 0,
  success: failed === 0,
  ...more,
});

it('sums the packages that have tests, not what they depend on', () => {
  addPackage('apps/gateway', result(3, 1));
  addPackage('e2e', result(2, 0, { numPendingTests: 1, numTodoTests: 1 }));
  addPackage('docs', result(100, 0), {});
  addPackage('e2e/node_modules', result(100, 0));
  const packages = testedPackages(root);
  expect(packages).toEqual([join(root, 'apps/gateway'), join(root, 'e2e')]);
  expect(sumResults(packages)).toEqual({ passed: 5, failed: 1, skipped: 2 });
});

it('counts a run without a result as a failure', () => {
  addPackage('apps/gateway', result(3, 0));
  addPackage('apps/crashed');
  expect(sumResults(testedPackages(root))).toMatchObject({ passed: 3, failed: 1 });
});

it('counts a run that failed outside of its tests as a failure', () => {
  addPackage('apps/gateway', result(3, 0, { success: false }));
  expect(sumResults(testedPackages(root))).toMatchObject({ passed: 3, failed: 1 });
});

it('does not count the results of an earlier run', () => {
  addPackage('apps/gateway', result(3, 0));
  forgetResults(testedPackages(root));
  expect(sumResults(testedPackages(root))).toMatchObject({ passed: 0, failed: 1 });
});

it('keeps a sum for the next command, and a run without one is a failure', () => {
  const none = { passed: 0, failed: 1, failures: ['failed: npm test did not come to its end'] };
  expect(readSum(root)).toEqual(none);
  const sum = { passed: 12, failed: 1, failures: ['failed: a.test.ts > a: it is late'] };
  keepSum(root, sum);
  expect(readSum(root)).toEqual(sum);
  forgetSum(root);
  expect(readSum(root)).toEqual(none);
});
