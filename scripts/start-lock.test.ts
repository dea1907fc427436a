import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { startTicks } from './process-identity.ts';
import { takeStartLock } from './start-lock.ts';

const URL = 'http://127.0.0.1:8000';
let dataDir: string;
const lockPath = () => join(dataDir, 'start.lock');

beforeEach(() => (dataDir = mkdtempSync(join(tmpdir(), 'antiphon-lock-'))));
afterEach(() => rmSync(dataDir, { recursive: true }));

it('is held by one process and free again after its release', () => {
  const lock = takeStartLock(dataDir, URL);
  expect(() => takeStartLock(dataDir, URL)).toThrow(
    new RegExp(`runs already: process ${process.pid} since .*${URL}`),
  );
  lock.release();
  expect(existsSync(lockPath())).toBe(false);
  takeStartLock(dataDir, URL).release();
});

it('is taken over from a process that is gone', async () => {
  const gone = spawn('true');
  await once(gone, 'exit');
  writeFileSync(lockPath(), JSON.stringify({ pid: gone.pid, startTicks: 1, since: '', url: URL }));
  const lock = takeStartLock(dataDir, URL);
  expect(JSON.parse(readFileSync(lockPath(), 'utf8'))).toMatchObject({ pid: process.pid });
  lock.release();
});

it('is taken over from a process whose pid was given out again', () => {
  const ticks = (startTicks(process.ppid) ?? 0) - 1;
  writeFileSync(
    lockPath(),
    JSON.stringify({ pid: process.ppid, startTicks: ticks, since: '', url: URL }),
  );
  expect(() => takeStartLock(dataDir, URL).release()).not.toThrow();
});

it('is taken over when a crash left it empty', () => {
  writeFileSync(lockPath(), '');
  expect(() => takeStartLock(dataDir, URL).release()).not.toThrow();
});

it('leaves the lock of a successor alone', () => {
  const lock = takeStartLock(dataDir, URL);
  const successor = JSON.stringify({ pid: process.ppid, startTicks: 1, since: '', url: URL });
  writeFileSync(lockPath(), successor);
  lock.release();
  expect(readFileSync(lockPath(), 'utf8')).toBe(successor);
});
