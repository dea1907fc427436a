import { PATIENCE, until } from '@antiphon/testing/until';
import { afterEach, expect, it } from 'vitest';
import { startTicks } from './process-identity.ts';
import { type ExitReport, type ProcessSpec, SupervisedProcess } from './supervised-process.ts';

const started: SupervisedProcess[] = [];
afterEach(() => {
  for (const supervised of started.splice(0)) supervised.kill();
});

interface Observed {
  supervised: SupervisedProcess;
  lines: string[];
  exits: ExitReport[];
}

function supervise(
  script: string,
  given: Partial<ProcessSpec> & { restart?: boolean } = {},
): Observed {
  const { restart = true, ...spec } = given;
  const observed = { lines: [] as string[], exits: [] as ExitReport[] };
  const supervised = new SupervisedProcess(
    {
      name: 'subject',
      command: ['sh', '-c', script],
      env: process.env,
      cwd: import.meta.dirname,
      stopTimeoutMs: 30_000,
      ...spec,
    },
    {
      pidChanged: () => {},
      line: (_name, text) => observed.lines.push(text),
      exit: (report) => {
        observed.exits.push(report);
        return restart;
      },
    },
  );
  started.push(supervised);
  supervised.start();
  return { supervised, ...observed };
}

it('passes on the lines of both outputs, and the pid is the program’s own', async () => {
  const { supervised, lines } = supervise('echo "pid $$"; echo trouble >&2; exec sleep 100');
  await until(() => lines.length === 2);
  expect(lines.toSorted()).toEqual([`pid ${supervised.pid}`, 'trouble']);
});

it('brings a killed process back within 3 s', async () => {
  const { supervised, exits } = supervise('exec sleep 100');
  const first = await until(() => supervised.pid);
  const killedAtMs = performance.now();
  process.kill(first, 'SIGKILL');
  await until(() => supervised.pid !== undefined && supervised.pid !== first);
  expect(performance.now() - killedAtMs).toBeLessThan(3000 * PATIENCE);
  expect(exits).toMatchObject([{ code: null, signal: 'SIGKILL', restartInMs: 200 }]);
});

it('waits longer before each restart of a process that keeps dying', async () => {
  const { exits } = supervise('exit 7');
  await until(() => exits.length === 3);
  expect(exits.map((report) => report.restartInMs)).toEqual([200, 400, 800]);
  expect(exits[0]).toMatchObject({ name: 'subject', code: 7, signal: null });
});

it('reports the last lines before the exit, and does not restart when told so', async () => {
  const { supervised, lines, exits } = supervise('echo last words; exit 1', { restart: false });
  await until(() => exits.length === 1);
  expect(lines).toEqual(['last words']);
  expect(supervised.pid).toBeUndefined();
});

it('reports a program that does not exist', async () => {
  const { exits, lines } = supervise('', { cwd: '/nonexistent', restart: false });
  await until(() => exits.length === 1);
  expect(lines.join('')).toMatch(/ENOENT/);
});

it('leaves nothing of the group behind when the process dies', async () => {
  const { supervised, lines } = supervise('sleep 100 & echo $!; wait', { restart: false });
  const child = Number(await until(() => lines[0]));
  process.kill(supervised.pid ?? 0, 'SIGKILL');
  await until(() => startTicks(child) === undefined);
  expect(supervised.pid).toBeUndefined();
});

it('stops a process by SIGTERM and reports no exit', async () => {
  const { supervised, lines, exits } = supervise(
    'trap "echo bye; exit 0" TERM; echo up; sleep 100 & wait',
  );
  await until(() => lines.includes('up'));
  const pid = supervised.pid ?? 0;
  await supervised.stop();
  expect(lines).toEqual(['up', 'bye']);
  expect(exits).toEqual([]);
  expect(startTicks(pid)).toBeUndefined();
});

it('kills what does not stop in time', async () => {
  const { supervised, lines } = supervise('trap "" TERM; echo up; while :; do sleep 100; done', {
    stopTimeoutMs: 100,
  });
  await until(() => lines.includes('up'));
  const pid = supervised.pid ?? 0;
  await supervised.stop();
  expect(startTicks(pid)).toBeUndefined();
});

it('stays stopped when it is stopped before the restart', async () => {
  const { supervised, exits } = supervise('exit 7');
  await until(() => exits.length === 1);
  await supervised.stop();
  supervised.start();
  expect(supervised.pid).toBeUndefined();
});
