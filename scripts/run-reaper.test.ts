import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { until } from '@antiphon/testing/until';
import { afterEach, expect, it } from 'vitest';
import { startTicks } from './process-identity.ts';
import { RunReaper } from './run-reaper.ts';

const pids: number[] = [];
afterEach(() => {
  for (const pid of pids.splice(0)) if (startTicks(pid) !== undefined) process.kill(pid, 'SIGKILL');
});

function launch(script: string, env: NodeJS.ProcessEnv): number {
  const { pid = 0 } = spawn('sh', ['-c', script], { env, detached: true, stdio: 'ignore' });
  pids.push(pid);
  return pid;
}

it('ends what carries its mark, also against its will, and nothing else', async () => {
  const reaper = new RunReaper();
  const environment = { PATH: process.env['PATH'] };
  const obedient = launch('exec sleep 100', reaper.mark(environment));
  const stubborn = launch('trap "" TERM; while :; do sleep 100; done', reaper.mark(environment));
  const stranger = launch('exec sleep 100', environment);
  await reaper.end();
  await until(() => startTicks(obedient) === undefined && startTicks(stubborn) === undefined);
  expect(startTicks(stranger)).toBeDefined();
});

it('keeps its owner alive until it is done', async () => {
  const module = JSON.stringify(new URL('./run-reaper.ts', import.meta.url).href);
  const owner = spawn(
    process.execPath,
    [
      '--input-type=module',
      '-e',
      `import { RunReaper } from ${module}; await new RunReaper().end();`,
    ],
    { stdio: 'ignore' },
  );
  const [code] = (await once(owner, 'exit')) as [number | null];
  expect(code).toBe(0);
});

it('does its work when its owner is killed', async () => {
  const module = JSON.stringify(new URL('./run-reaper.ts', import.meta.url).href);
  const owner = spawn(
    process.execPath,
    [
      '--input-type=module',
      '-e',
      `import { spawn } from 'node:child_process';
       import { RunReaper } from ${module};
       const child = spawn('sleep', ['100'], { env: new RunReaper().mark(process.env), detached: true });
       console.log(child.pid);
       setInterval(() => {}, 1000);`,
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const [output] = (await once(owner.stdout, 'data')) as [Buffer];
  const child = Number(output);
  pids.push(child);
  expect(startTicks(child)).toBeDefined();
  owner.kill('SIGKILL');
  await until(() => startTicks(child) === undefined);
});
