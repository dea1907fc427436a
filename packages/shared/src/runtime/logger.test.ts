import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { expect, it } from 'vitest';
import { scrub } from './logger.ts';

const program = `
import { createLogger } from ${JSON.stringify(new URL('./logger.ts', import.meta.url).href)};
const error = Object.assign(new Error('NOAUTH sk-canary-key redis://u:canary-pass@h'), {
  command: { name: 'auth', args: ['canary-arg'] }, headers: { authorization: 'canary-header' } });
error.cause = Object.assign(new Error('Bearer canary-token'), { args: ['canary-deep'] });
createLogger('test', 'info').error({ err: error }, 'failed');
`;

it('drops what libraries hang on their errors, and scrubs their texts', () => {
  const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
    encoding: 'utf8',
  });
  expect(JSON.parse(stdout)).toMatchObject({ name: 'test', msg: 'failed', err: { type: 'Error' } });
  expect(stdout).not.toContain('canary');
});

it('leaves ordinary texts alone', () => {
  expect(scrub('phrase 3 failed at http://h:1/v1')).toBe('phrase 3 failed at http://h:1/v1');
});

const chatterbox = `
import { createLogger } from ${JSON.stringify(new URL('./logger.ts', import.meta.url).href)};
const logger = createLogger('test', 'info');
for (let line = 0; line < 20_000; line += 1) logger.info('x'.repeat(200));
process.send('goes on');
process.on('message', () => process.kill(process.pid, 'SIGKILL'));
`;

it('does not hold the process up when nobody reads its log', async () => {
  const child = spawn(process.execPath, ['--input-type=module', '-e', chatterbox], {
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
  });
  expect((await once(child, 'message'))[0]).toBe('goes on');
  child.send('end');
  await once(child, 'exit');
});
