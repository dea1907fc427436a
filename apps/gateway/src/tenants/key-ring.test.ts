import { mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Logger } from '@antiphon/shared/runtime/logger';
import type { ConfigError } from '@antiphon/shared/runtime/load-config';
import { until } from '@antiphon/testing/until';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { KeyRing } from './key-ring.ts';

const INLINE = 'sk-inline-0123456789abcdef';
const OLD = 'sk-of-the-file-0123456789';
const NEW = 'sk-of-the-new-file-0123456789';

let directory: string;
let file: string;
let warnings: string[];
let logger: Logger;
const rings: KeyRing[] = [];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'antiphon-keys-'));
  file = join(directory, 'keys.txt');
  warnings = [];
  const warn = (message: string) => warnings.push(message);
  logger = { warn, info: () => undefined } as unknown as Logger;
});
afterEach(async () => {
  for (const ring of rings.splice(0)) ring.close();
  await rm(directory, { recursive: true });
});

function open(inline: string[], path?: string): KeyRing {
  const ring = new KeyRing({ inline, file: path, logger });
  rings.push(ring);
  return ring;
}

it('finds what it was given, and nothing else', async () => {
  await writeFile(file, `alice:${OLD} streams=2\n`);
  const ring = open([INLINE], file);
  expect(ring.isEmpty).toBe(false);
  expect(ring.find(INLINE)?.tenantId).toMatch(/^key-[0-9a-f]{16}$/);
  expect(ring.find(OLD)).toMatchObject({ tenantId: 'name-alice', limits: { streams: 2 } });
  for (const given of ['', 'alice', NEW, `${OLD} `, `alice:${OLD}`, INLINE.slice(0, -1)])
    expect(ring.find(given)).toBeUndefined();
  expect(open([]).isEmpty).toBe(true);
});

it('has limits of keys in API_KEYS as in the file', () => {
  const ring = open([`alice:${INLINE}  streams=4 requests-per-minute=60`, OLD]);
  expect(ring.find(INLINE)).toMatchObject({
    ...{ tenantId: 'name-alice', limits: { streams: 4, requestsPerMinute: 60 } },
  });
  expect(ring.find(OLD)).toMatchObject({ limits: {} });
});

it('takes the file before API_KEYS where both know a key', async () => {
  await writeFile(file, `alice:${INLINE}\n`);
  expect(open([INLINE], file).find(INLINE)?.tenantId).toBe('name-alice');
});

it('refuses to begin with a fault, by variable and place, without the key', async () => {
  await writeFile(file, `${OLD}\nsha256:canary\n`);
  const refusal = (inline: string[], path?: string) => {
    try {
      return open(inline, path) && [];
    } catch (error) {
      return (error as ConfigError).lines;
    }
  };
  expect(refusal([INLINE, 'sha256:canary'])).toEqual([
    'API_KEYS: entry 2: sha256: must be followed by 64 hex digits',
  ]);
  expect(refusal([`${INLINE} canary=1`])).toEqual([
    expect.stringMatching(/^API_KEYS: entry 1: unknown limit; known: requests-per-minute, /),
  ]);
  expect(refusal([], file)).toEqual([
    'API_KEYS_FILE: line 2: sha256: must be followed by 64 hex digits',
  ]);
  expect(refusal([], join(directory, 'none'))).toEqual([
    'API_KEYS_FILE: it cannot be read (ENOENT)',
  ]);
  await writeFile(file, '');
  expect(refusal([INLINE], file)).toEqual(['API_KEYS_FILE: it has no key']);
});

it('warns of keys that can be guessed, without telling them', async () => {
  await writeFile(file, 'hunter2\nhunter3\n');
  open(['canary', INLINE], file);
  expect(warnings).toEqual([
    'API_KEYS: 1 of 2 keys have fewer than 16 characters and can be guessed',
    'API_KEYS_FILE: 2 of 2 keys have fewer than 16 characters and can be guessed',
  ]);
});

it('reads its file again, keeps the old keys while the new ones are wrong, and says so once', async () => {
  await writeFile(file, `${OLD}\n`);
  const ring = open([], file);
  await writeFile(file, `alice:${NEW}\n`);
  await until(() => ring.find(NEW) !== undefined);
  expect(ring.find(OLD)).toBeUndefined();

  await writeFile(file, `${OLD} canary\n`);
  await until(() => warnings.length > 0);
  await writeFile(file, '\n');
  await until(() => warnings.length > 1);
  await rm(file);
  await until(() => warnings.length > 2);
  expect(ring.find(NEW)?.tenantId).toBe('name-alice');
  expect(ring.find(OLD)).toBeUndefined();
  expect(warnings.join('\n')).not.toContain('canary');
  expect(warnings.map((warning) => warning.split(';')[0])).toEqual([
    'API_KEYS_FILE: line 1: unknown limit',
    'API_KEYS_FILE: it has no key',
    'API_KEYS_FILE: it cannot be read (ENOENT)',
  ]);
  await writeFile(file, `${OLD}\n`);
  await until(() => ring.find(OLD) !== undefined);
});

it('follows a symbolic link that is put elsewhere, as mounted secrets are', async () => {
  await writeFile(join(directory, 'one'), `${OLD}\n`);
  await writeFile(join(directory, 'two'), `${NEW}\n`);
  await symlink('one', file);
  const ring = open([], file);
  await symlink('two', join(directory, 'next'));
  await rename(join(directory, 'next'), file);
  await until(() => ring.find(NEW) !== undefined);
  expect(ring.find(OLD)).toBeUndefined();
});
