import { until } from '@antiphon/testing/until';
import { expect, test } from 'vitest';
import { Program, freePort } from './program.ts';

function nodeProgram(code: string): Program {
  return new Program({ name: 'probe', command: process.execPath, args: ['-e', code], env: {} });
}

test('a program is stopped and leaves its last words', async () => {
  const program = nodeProgram(`console.log('ready'); setInterval(() => {}, 1000)`);
  await until(() => program.lastWords.includes('ready'));
  expect(program.alive).toBe(true);
  await program.stop();
  expect(program.alive).toBe(false);
  expect(program.lastWords).toBe('probe: ready');
});

test('its CPU time is counted', async () => {
  const program = nodeProgram(`for (;;) {}`);
  expect(await until(() => program.cpuMs)).toBeGreaterThan(0);
  await program.stop();
});

test('it inherits no configuration', async () => {
  process.env['API_KEYS'] = 'secret';
  const program = nodeProgram(`console.log(Object.keys(process.env).sort().join())`);
  await until(() => !program.alive);
  delete process.env['API_KEYS'];
  expect(program.lastWords).toBe('probe: HOME,PATH');
});

test('a program that cannot be started is not alive', async () => {
  const program = new Program({ name: 'none', command: '/nowhere', args: [], env: {} });
  await until(() => program.lastWords !== 'none: (silent)');
  await until(() => !program.alive);
  expect(program.lastWords).toContain('/nowhere');
});

test('free ports are ports', async () => {
  expect(await freePort()).toBeGreaterThan(1023);
});
