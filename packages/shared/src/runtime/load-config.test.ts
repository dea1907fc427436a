import { expect, it } from 'vitest';
import { z } from 'zod';
import { commaList, flag, milliseconds, port } from '../services/variables.ts';
import { ConfigError, commonConfig, loadConfig } from './load-config.ts';

const schema = z.object({
  ...commonConfig,
  PORT: port(8000),
  WAIT_MS: milliseconds(5),
  OPEN: flag(),
  NAMES: commaList(),
});

it('fills in defaults, also for empty variables', () => {
  expect(loadConfig(schema, { PORT: '', NAMES: ' a, b ,' })).toMatchObject({
    PORT: 8000,
    WAIT_MS: 5,
    OPEN: false,
    NAMES: ['a', 'b'],
    REDIS_URL: 'redis://127.0.0.1:6379',
  });
});

it('names every fault at once, without the values', () => {
  const load = () =>
    loadConfig(schema, {
      PORT: '99999',
      WAIT_MS: 'soon',
      OPEN: 'yes',
      REDIS_URL: 'http://:canary@h',
    });
  expect(load).toThrow(ConfigError);
  for (const name of ['OPEN', 'PORT', 'REDIS_URL', 'WAIT_MS']) expect(load).toThrow(`${name}: `);
  expect(load).not.toThrow(/canary/);
});
