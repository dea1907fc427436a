import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { until } from '@antiphon/testing/until';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { takeLock } from './file-lock.ts';

let directory: string;
let path: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'antiphon-lock-'));
  path = join(directory, '.lock');
});
afterEach(() => rm(directory, { recursive: true }));

async function goneProcess(): Promise<number | undefined> {
  const child = spawn('true');
  await once(child, 'exit');
  return child.pid;
}

it('is held by one until its release', async () => {
  const release = await takeLock(path, 'book');
  await expect(takeLock(path, 'book')).rejects.toThrow(
    `another antiphon (process ${process.pid}) is writing 'book'`,
  );
  await release();
  expect(await readdir(directory)).toStrictEqual([]);
  await (
    await takeLock(path, 'book')
  )();
});

it.each([
  ['is gone', async () => JSON.stringify({ pid: await goneProcess(), startTicks: 1 })],
  ['has a pid that was given out again', () => JSON.stringify({ pid: 1, startTicks: -1 })],
  ['was killed while it wrote it', () => ''],
])('is taken over when its process %s', async (_, content) => {
  await writeFile(path, await content());
  const release = await takeLock(path, 'book');
  expect(JSON.parse(await readFile(path, 'utf8'))).toMatchObject({ pid: process.pid });
  await release();
  expect(await readdir(directory)).toStrictEqual([]);
});

it('is taken over from a process that was killed and is not looked for', async () => {
  // What the shell has started nobody waits for, once the shell is another program.
  const parent = spawn('sh', ['-c', 'sleep 60 & echo $!; exec sleep 60']);
  try {
    const [told] = (await once(parent.stdout, 'data')) as [Buffer];
    const pid = Number(told.toString());
    await until(async () => (await readFile(`/proc/${parent.pid}/comm`, 'utf8')) === 'sleep\n');
    process.kill(pid, 'SIGKILL');
    await until(async () => / Z /.test(await readFile(`/proc/${pid}/stat`, 'utf8')));
    await writeFile(path, JSON.stringify({ pid }));
    const release = await takeLock(path, 'book');
    expect(JSON.parse(await readFile(path, 'utf8'))).toMatchObject({ pid: process.pid });
    await release();
  } finally {
    parent.kill('SIGKILL');
  }
});

it('of ten that take over the same one, one has it', async () => {
  await writeFile(path, JSON.stringify({ pid: await goneProcess(), startTicks: 1 }));
  const all = await Promise.allSettled(Array.from({ length: 10 }, () => takeLock(path, 'book')));
  expect(all.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
});

it('leaves that of a successor alone', async () => {
  const release = await takeLock(path, 'book');
  const successor = JSON.stringify({ pid: process.ppid });
  await writeFile(path, successor);
  await release();
  expect(await readFile(path, 'utf8')).toBe(successor);
});
