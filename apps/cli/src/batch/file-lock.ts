import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { z } from 'zod';
import { CliError } from '../cli-error.ts';

/** Of a folder that one command alone may write into. */
export const FOLDER_LOCK = '.antiphon-batch.lock';
const TRIES = 10;
/** The 22nd field, in clock ticks since boot. */
const START = 19;

const schema = z.object({ pid: z.number(), startTicks: z.number().optional() });
type Holder = z.output<typeof schema>;

/**
 * Takes a lock until the function that it returns is called. That of a process that is gone is
 * taken over. Throws a CliError that names the one that lives: two that write one folder would
 * leave files with holes. `what`: that is being written.
 */
export async function takeLock(path: string, what: string): Promise<() => Promise<void>> {
  const own: Holder = await holderOf(process.pid);
  for (let tried = 0; tried < TRIES; tried += 1) {
    try {
      await writeFile(path, JSON.stringify(own), { flag: 'wx' });
      return () => releaseOwn(path, own);
    } catch (thrown) {
      const { code } = thrown as NodeJS.ErrnoException;
      if (code === 'EEXIST') await setAside(path, what);
      else throw new CliError(`'${what}' cannot be written (${code})`, 'name another by --out');
    }
  }
  throw new CliError(`'${what}' cannot be locked`, `remove ${path}`);
}

/** Moves a stale lock away; what turns out to be a rival's fresh one is put back. */
async function setAside(path: string, what: string): Promise<void> {
  const found = await readHolder(path);
  if (found && (await isAlive(found))) {
    const who = `another antiphon (process ${found.pid}) is writing '${what}'`;
    throw new CliError(who, `wait for its end, or stop it: kill ${found.pid}`);
  }
  const aside = `${path}.${process.pid}`;
  try {
    await rename(path, aside);
  } catch {
    return; // a rival was faster: the next try sees its lock
  }
  const moved = await readHolder(aside);
  if (moved && moved.pid !== found?.pid && (await isAlive(moved))) await rename(aside, path);
  else await rm(aside, { force: true });
}

async function releaseOwn(path: string, { pid }: Holder): Promise<void> {
  if ((await readHolder(path))?.pid === pid) await rm(path, { force: true });
}

async function readHolder(path: string): Promise<Holder | undefined> {
  try {
    return schema.parse(JSON.parse(await readFile(path, 'utf8')));
  } catch {
    return undefined; // removed meanwhile, or cut short by a crash
  }
}

/** A pid is given out again; with the time of its start, where the system tells it, it names one process. */
async function isAlive({ pid, startTicks }: Holder): Promise<boolean> {
  try {
    process.kill(pid, 0);
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ESRCH') return false;
  }
  const fields = await statOf(pid);
  // Killed, and its parent does not look: it is there and does nothing.
  if (fields[0] === 'Z') return false;
  return startTicks === undefined || Number(fields[START]) === startTicks;
}

async function holderOf(pid: number): Promise<Holder> {
  const ticks = (await statOf(pid))[START];
  return { pid, ...(ticks === undefined ? {} : { startTicks: Number(ticks) }) };
}

/** Of /proc/pid/stat, which Linux has, the fields from the third one on: the state. */
async function statOf(pid: number): Promise<string[]> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  // The command name in parentheses may hold blanks and parentheses itself.
  return stat === '' ? [] : stat.slice(stat.lastIndexOf(')') + 2).split(' ');
}
