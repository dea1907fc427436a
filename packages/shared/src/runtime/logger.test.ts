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

const quoting = `
import { VoiceError } from ${JSON.stringify(new URL('../errors/voice-error.ts', import.meta.url).href)};
import { createLogger } from ${JSON.stringify(new URL('./logger.ts', import.meta.url).href)};
import { withLogContext, addToLogContext } from ${JSON.stringify(new URL('./log-context.ts', import.meta.url).href)};
const logger = createLogger('test', 'trace');
const tell = (err) => logger.warn({ err }, 'failed');
try { JSON.parse('canary{'); } catch (error) { tell(new VoiceError('upstream_protocol', { cause: error })); }
class ReplyError extends Error { name = 'ReplyError'; }
tell(new ReplyError("ERR unknown command 'SAY', with args beginning with: 'canary' 'it''s canary' "));
tell(new VoiceError('invalid_value', { message: "Invalid value: 'canary'." }));
tell(new VoiceError('upstream_rejected', { message: 'canary is not allowed' }));
tell(new VoiceError('upstream_error', { message: 'I cannot say canary' }));
tell(new VoiceError('engine_failed', { message: 'no engine', cause: 'http://user:canary@h/ gsk_canary0' }));
tell(Object.assign(new Error('x'), { response: 'canary', data: 'canary' }));
withLogContext({ requestId: 'r' }, () => {
  addToLogContext({ tenantId: 't' });
  setImmediate(() => logger.info({ streamId: 's' }, 'inside'));
});
addToLogContext({ tenantId: 'nobody' });
logger.info('outside');
`;

it('tells no text that an error quotes, and whose request a line is about', () => {
  const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', quoting], {
    encoding: 'utf8',
  });
  expect(stdout).not.toContain('canary');
  const lines = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  expect(lines).toHaveLength(9);
  expect(lines[0]).toMatchObject({ err: { cause: { type: 'SyntaxError' } } });
  expect(lines[1]).toMatchObject({
    err: { message: expect.stringMatching(/^ERR unknown command/) },
  });
  expect(lines[5]).toMatchObject({ err: { message: 'no engine', code: 'engine_failed' } });
  expect(lines[7]).not.toHaveProperty('tenantId');
  expect(lines[8]).toMatchObject({ msg: 'inside', requestId: 'r', tenantId: 't', streamId: 's' });
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
