import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { getPriority } from 'node:os';
import { Worker } from 'node:worker_threads';
import { expect, it } from 'vitest';
import { lowerChildPriority } from './low-priority.ts';

/** Place of `nice` behind the name, in proc(5)'s `stat`. */
const NICE = 16;

function threadPriorities(): Map<string, number> {
  const stats = readdirSync('/proc/self/task').map((id): [string, number] => {
    const stat = readFileSync(`/proc/self/task/${id}/stat`, 'utf8');
    return [id, Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[NICE])];
  });
  return new Map(stats);
}

it('lowers the calling thread and no other', async () => {
  const before = threadPriorities();
  const code = `
    const { parentPort } = require('node:worker_threads');
    import(${JSON.stringify(import.meta.resolve('./low-priority.ts'))}).then((module) => {
      module.lowerThreadPriority();
      parentPort.on('message', () => undefined);
      parentPort.postMessage('low');
    });`;
  const thread = new Worker(code, { eval: true });
  await once(thread, 'message');
  const after = threadPriorities();
  await thread.terminate();
  const lowered = [...after].filter(([id, nice]) => nice === 19 && before.get(id) !== 19);
  expect(lowered).toHaveLength(1);
  expect(
    [...before].filter(([id, nice]) => after.get(id) !== undefined && after.get(id) !== nice),
  ).toEqual([]);
});

it('lowers a child, and does not mind one that is gone or never was', async () => {
  const child = spawn('sleep', ['60']);
  await once(child, 'spawn');
  lowerChildPriority(child);
  expect(getPriority(child.pid)).toBe(19);
  const exited = once(child, 'exit');
  child.kill();
  await exited;
  lowerChildPriority(child);
  lowerChildPriority({});
});
