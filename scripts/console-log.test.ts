import { expect, it } from 'vitest';
import { consoleLine, consoleLog } from './console-log.ts';

const record = (level: number, msg: string, more: object = {}) =>
  JSON.stringify({
    level,
    time: 1_700_000_000_000,
    pid: 1,
    hostname: 'h',
    name: 'x',
    msg,
    ...more,
  });

it('makes one short line of a JSON record', () => {
  const { text, level } = consoleLine(
    'gateway',
    record(30, 'request', { status: 200, path: '/v1' }),
  );
  expect(level).toBe(30);
  expect(text).toMatch(/^\d\d:\d\d:\d\d gateway {4}info {2}request status=200 path=\/v1$/);
});

it('shortens long values', () => {
  const { text } = consoleLine(
    'gateway',
    record(50, 'failed', { err: { stack: 'x'.repeat(5000) } }),
  );
  expect(text.length).toBeLessThan(300);
});

it('knows levels by name too', () => {
  expect(consoleLine('gateway', '{"level":"error","msg":"m"}').level).toBe(50);
});

it('keeps what is no record, as a warning', () => {
  for (const text of ['Error: crashed', '{ "half": ']) {
    expect(consoleLine('llm-worker', text)).toMatchObject({ level: 40 });
    expect(consoleLine('llm-worker', text).text).toContain(text);
  }
});

it('names the process once', () => {
  const { text } = consoleLine('gateway', 'gateway: PORT: must be a port');
  expect(text).toMatch(/^\d\d:\d\d:\d\d gateway {4}PORT: must be a port$/);
});

function shown(environment: Record<string, string>, name: string, text: string): string[] {
  const written: string[] = [];
  const wasShown = consoleLog(environment, (line) => written.push(line))(name, text);
  expect(wasShown).toBe(written.length === 1);
  return written;
}

it('shows requests and everyone’s warnings by default', () => {
  expect(shown({}, 'gateway', record(30, 'request'))).toHaveLength(1);
  expect(shown({}, 'gateway', record(20, 'detail'))).toHaveLength(0);
  expect(shown({}, 'gateway', record(30, 'request', { path: '/health/ready' }))).toHaveLength(0);
  expect(shown({}, 'tts-worker', record(30, 'job'))).toHaveLength(0);
  expect(shown({}, 'tts-worker', record(40, 'slow'))).toHaveLength(1);
});

it('shows all of a level that was asked for', () => {
  expect(shown({ LOG_LEVEL: 'debug' }, 'tts-worker', record(20, 'job'))).toHaveLength(1);
});

it('shows of Redis only trouble', () => {
  const overcommit = '1:M # WARNING overcommit must be enabled! a background save may have failed';
  expect(shown({}, 'redis', '1:M # Server initialized')).toHaveLength(0);
  expect(shown({}, 'redis', overcommit)).toHaveLength(0);
  expect(shown({}, 'redis', "1:M # Can't open the append-only file")).toHaveLength(1);
});

it('passes JSON on as it came and wraps the rest', () => {
  const text = record(30, 'job');
  expect(shown({ LOG_FORMAT: 'json' }, 'tts-worker', text)).toEqual([text]);
  const [wrapped = ''] = shown({ LOG_FORMAT: 'json' }, 'tts-worker', 'crash');
  expect(JSON.parse(wrapped)).toMatchObject({ level: 40, name: 'tts-worker', msg: 'crash' });
});
