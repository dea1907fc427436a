import { describe, expect, it } from 'vitest';
import { parseConfig } from './config.ts';

it('works without any variable', () => {
  expect(parseConfig({})).toMatchObject({
    ...{ PORT: 8000, HOST: '127.0.0.1', API_KEYS: [], AUTH_DISABLED: false, PUBLIC_LISTS: false },
    ...{ MAX_UPLOAD_BYTES: 26_214_400, MAX_INPUT_CHARACTERS: 4096, KEEPALIVE_MS: 10_000 },
    ...{ QUEUE_TIMEOUT_MS: 30_000, FIRST_EVENT_TIMEOUT_MS: 120_000, STATUS_HOLD_MS: 10_000 },
    ...{ IDLE_TIMEOUT_MS: 60_000, TOTAL_TIMEOUT_MS: 600_000, WRITE_STALL_TIMEOUT_MS: 30_000 },
    ...{ LOG_TTL_MS: 300_000, MAX_LOG_BYTES: 16_777_216, SHUTDOWN_DRAIN_MS: 20_000 },
    AUDIO_ID_TTL_MS: 3_600_000,
  });
});

it('takes a file of keys for keys', () => {
  expect(() => parseConfig({ HOST: '0.0.0.0' })).toThrow('API_KEYS: needed');
  expect(parseConfig({ HOST: '0.0.0.0', API_KEYS_FILE: 'keys.txt' }).API_KEYS_FILE).toBe(
    'keys.txt',
  );
});

it('reads lists, and takes empty variables for unset ones', () => {
  const config = parseConfig({
    API_KEYS: ' one ,two,, ',
    MODEL_ALIASES: 'gpt-4o=llama,a=b',
    CORS_ORIGINS: '',
    DEFAULT_CHAT_MODEL: '',
    PORT: '',
  });
  expect(config).toMatchObject({
    API_KEYS: ['one', 'two'],
    MODEL_ALIASES: ['gpt-4o=llama', 'a=b'],
    CORS_ORIGINS: [],
    PORT: 8000,
  });
  expect(config.DEFAULT_CHAT_MODEL).toBeUndefined();
});

describe('a fault is told by name, without the value', () => {
  it.each([
    ['PORT', '70000'],
    ['PORT', '-1'],
    ['PORT', 'http'],
    ['AUTH_DISABLED', 'yes'],
    ['PUBLIC_LISTS', 'on'],
    ['MAX_UPLOAD_BYTES', '0'],
    ['MAX_UPLOAD_BYTES', '25MB'],
    ['MAX_INPUT_CHARACTERS', '1.5'],
    ['MAX_AUDIO_SECONDS', '0'],
    ['MODEL_ALIASES', 'gpt-4o'],
    ['QUEUE_TIMEOUT_MS', '30s'],
    ['FIRST_EVENT_TIMEOUT_MS', '0'],
    ['IDLE_TIMEOUT_MS', ' '],
    ['TOTAL_TIMEOUT_MS', '1e3'],
    ['WRITE_STALL_TIMEOUT_MS', 'never'],
    ['STATUS_HOLD_MS', '-5'],
    ['KEEPALIVE_MS', 'x'],
    ['LOG_TTL_MS', '0'],
    ['AUDIO_ID_TTL_MS', '1h'],
    ['MAX_LOG_BYTES', '1000'],
    ['LOCK_DURATION_MS', '0'],
    ['STALLED_INTERVAL_MS', '99999999999999999999'],
    ['SHUTDOWN_DRAIN_MS', 'x'],
    ['LOG_LEVEL', 'loud'],
    ['REDIS_URL', 'localhost:6379'],
    ['REDIS_URL', 'http://:canary@h'],
    ['STREAM_REDIS_URL', 'redis//x'],
  ])('%s=%s', (name, value) => {
    const parse = () => parseConfig({ [name]: value });
    expect(parse).toThrow(new RegExp(`^${name}: `));
    expect(parse).not.toThrow(/canary/);
  });

  it('and all of them at once, the rule about keys as well', () => {
    const parse = () => parseConfig({ PORT: 'x', HOST: '0.0.0.0', LOG_LEVEL: 'y', REDIS_URL: 'z' });
    for (const name of ['PORT', 'LOG_LEVEL', 'REDIS_URL', 'API_KEYS']) {
      expect(parse).toThrow(new RegExp(`^${name}: `, 'm'));
    }
  });
});

describe('without keys', () => {
  it.each(['127.0.0.1', '::1', 'localhost'])('%s may be served', (HOST) => {
    expect(parseConfig({ HOST }).HOST).toBe(HOST);
  });

  it.each(['0.0.0.0', '::', '192.168.1.5', 'voice.example', '127.0.0.1.example'])(
    '%s may not, unless it is said',
    (HOST) => {
      expect(() => parseConfig({ HOST })).toThrow(
        `API_KEYS: needed because HOST is ${HOST}: without keys only the loopback may be served`,
      );
      expect(() => parseConfig({ HOST, API_KEYS: ' , ' })).toThrow(/^API_KEYS: /);
      expect(parseConfig({ HOST, API_KEYS: 'k' }).API_KEYS).toStrictEqual(['k']);
      expect(parseConfig({ HOST, AUTH_DISABLED: 'true' }).AUTH_DISABLED).toBe(true);
    },
  );
});

it('0 keepalives and no status hold are allowed: a few clients choke on comments', () => {
  expect(parseConfig({ KEEPALIVE_MS: '0', STATUS_HOLD_MS: '0' })).toMatchObject({
    KEEPALIVE_MS: 0,
    STATUS_HOLD_MS: 0,
  });
});
