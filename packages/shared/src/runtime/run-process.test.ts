import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { until } from '@antiphon/testing/until';
import { afterEach, describe, expect, it } from 'vitest';

const children: ChildProcess[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
});

/** A process of its own whose `start` has this body. */
function run(start: string) {
  const from = (file: string) => JSON.stringify(new URL(file, import.meta.url).href);
  const program = `
    import { z } from ${JSON.stringify(import.meta.resolve('zod'))};
    import { ConfigError, loadConfig } from ${from('./load-config.ts')};
    import { runProcess } from ${from('./run-process.ts')};
    await runProcess('app', async () => { ${start} });
  `;
  const child = spawn(process.execPath, ['--input-type=module-typescript', '-e', program], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {},
  });
  children.push(child);
  const heard = { output: '', errors: '' };
  child.stdout.on('data', (part: Buffer) => {
    heard.output += part.toString();
  });
  child.stderr.on('data', (part: Buffer) => {
    heard.errors += part.toString();
  });
  return { child, heard, exited: once(child, 'close') };
}
const RUNNING = 'const timer = setInterval(() => undefined, 1000);';

describe('a fault at start is one line and code 1', () => {
  it.each([
    ["throw new ConfigError(['A: one', 'B: two'])", 'app: A: one\napp: B: two\n'],
    ["throw new Error('REDIS_URL: nothing listens\\nstack')", 'app: REDIS_URL: nothing listens\n'],
    ["throw new Error('key sk-canary12345')", 'app: key [secret]\n'],
    [
      "throw Object.assign(new Error('listen'), { code: 'EADDRINUSE', port: 80 })",
      'app: PORT: port 80 is in use; choose another\n',
    ],
  ])('%s', async (start, expected) => {
    const { heard, exited } = run(start);
    expect(await exited).toEqual([1, null]);
    expect(heard.errors).toBe(expected);
  });

  it('names the variable that is wrong', async () => {
    const { heard, exited } = run('loadConfig(z.object({ PORT: z.string() }), {}); throw 1;');
    expect(await exited).toEqual([1, null]);
    expect(heard.errors).toMatch(/^app: PORT.*\n$/);
  });
});

describe('a running process', () => {
  it.each(['SIGTERM', 'SIGINT'] as const)('closes in order on %s, with code 0', async (signal) => {
    const { child, heard, exited } = run(
      `${RUNNING} setImmediate(() => console.log('up')); return { closeWithinMs: 5000, async close() { clearInterval(timer); console.log('closed'); } };`,
    );
    await until(() => heard.output.includes('up'));
    child.kill(signal);
    expect(await exited).toEqual([0, null]);
    expect(heard.output).toBe('up\nclosed\n');
  });

  it('that cannot close ends anyway, with code 1', async () => {
    const { child, heard, exited } = run(
      `${RUNNING} setImmediate(() => console.log('up')); return { closeWithinMs: 200, close: () => new Promise(() => undefined) };`,
    );
    await until(() => heard.output.includes('up'));
    child.kill('SIGTERM');
    expect(await exited).toEqual([1, null]);
  });

  it('closes and ends with code 1 after an error that nobody caught, without a secret', async () => {
    const { heard, exited } = run(
      `setTimeout(() => { throw new Error('Bearer canary'); }, 20); return { closeWithinMs: 5000, async close() { console.log('closed'); } };`,
    );
    expect(await exited).toEqual([1, null]);
    expect(heard.output).toBe('closed\n');
    expect(heard.errors).toContain('app: Error: [secret]');
    expect(heard.errors).not.toContain('canary');
  });
});
