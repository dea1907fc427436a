import { expect, it } from 'vitest';
import { z } from 'zod';
import { ConfigError, commonConfig, loadConfig } from '../runtime/load-config.ts';
import { readS3Settings } from './s3-settings.ts';

const needed = { S3_BUCKET: 'bucket', S3_ACCESS_KEY_ID: 'id', S3_SECRET_ACCESS_KEY: 'secret' };
const read = (environment: Record<string, string>) =>
  readS3Settings(loadConfig(z.object(commonConfig), environment));

it.each<Record<string, string>>([
  {},
  { S3_REGION: 'eu-central-1', S3_PREFIX: 'voice' },
  { S3_BUCKET: '' },
])('is not wanted: %o', (environment) => {
  expect(read(environment)).toBeUndefined();
});

it('is wanted', () => {
  expect(read(needed)).toEqual({
    ...{ bucket: 'bucket', accessKeyId: 'id', secretAccessKey: 'secret' },
    ...{ endpoint: undefined, region: 'us-east-1', prefix: '', forcePathStyle: false },
  });
});

it.each([
  ['', ''],
  ['/', ''],
  ['voice', 'voice/'],
  ['a/b//', 'a/b/'],
])("prefix '%s' is '%s'", (S3_PREFIX, expected) => {
  expect(read({ ...needed, S3_PREFIX })?.prefix).toBe(expected);
});

it.each([
  [{ S3_BUCKET: 'bucket' }, ['S3_ACCESS_KEY_ID', 'S3_SECRET_ACCESS_KEY']],
  [{ ...needed, S3_BUCKET: '' }, ['S3_BUCKET']],
  [{ S3_ENDPOINT: 'https://s3.example' }, Object.keys(needed)],
])('wanted by halves names what lacks: %o', (environment, names) => {
  const fault = (() => {
    try {
      return read(environment);
    } catch (error) {
      return error;
    }
  })();
  expect(fault).toBeInstanceOf(ConfigError);
  expect((fault as ConfigError).lines).toEqual(
    names.map((name) => `${name}: needed because S3_* is set`),
  );
});
