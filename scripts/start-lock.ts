import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { startTicks } from './process-identity.ts';

interface LockHolder {
  pid: number;
  startTicks: number;
  since: string;
  url: string;
}

export interface StartLock {
  release(): void;
}

/**
 * Takes `start.lock` in `dataDir`, so that one data folder serves one start command.
 * The lock of a process that is gone (pid and start time) is taken over.
 * @throws an operator's error that names the holder
 */
export function takeStartLock(dataDir: string, url: string): StartLock {
  mkdirSync(dataDir, { recursive: true });
  const path = join(dataDir, 'start.lock');
  const holder: LockHolder = {
    pid: process.pid,
    startTicks: startTicks(process.pid) ?? 0,
    since: new Date().toISOString(),
    url,
  };
  for (let attempt = 0; attempt < 10; attempt++) {
    try {
      writeFileSync(path, `${JSON.stringify(holder)}\n`, { flag: 'wx' });
      return { release: () => releaseOwn(path, holder) };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    const found = readHolder(path);
    if (found && isAlive(found)) throw alreadyRunning(found, dataDir);
    setAside(path, found);
  }
  throw new Error(`Cannot take ${path}: remove it if nothing runs on ${dataDir}.`);
}

function alreadyRunning(holder: LockHolder, dataDir: string): Error {
  return new Error(
    `another one runs already: process ${holder.pid} since ${holder.since}, ${holder.url}, data in ${dataDir}. ` +
      `Stop it (kill ${holder.pid}), or give this one its own DATA_DIR and PORT.`,
  );
}

function isAlive(holder: LockHolder): boolean {
  return startTicks(holder.pid) === holder.startTicks;
}

function readHolder(path: string): LockHolder | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as LockHolder;
  } catch {
    return undefined; // removed meanwhile, or cut short by a crash
  }
}

/** Moves a stale lock away; what turns out to be a rival's fresh lock is put back. */
function setAside(path: string, stale: LockHolder | undefined): void {
  const aside = `${path}.${process.pid}`;
  try {
    renameSync(path, aside);
  } catch {
    return; // a rival was faster: the next attempt sees its lock
  }
  const moved = readHolder(aside);
  if (moved && moved.pid !== stale?.pid && isAlive(moved)) renameSync(aside, path);
  else rmSync(aside, { force: true });
}

function releaseOwn(path: string, own: LockHolder): void {
  const found = readHolder(path);
  if (found?.pid === own.pid && found.startTicks === own.startTicks) rmSync(path, { force: true });
}
