import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import {
  FFMPEG_NEED,
  REDIS_NEED,
  ensureSystemPackages,
  findProgram,
  isMet,
  whatToType,
} from './system-packages.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'antiphon-programs-'));
  writeFileSync(join(folder, 'valkey-server'), '');
  chmodSync(join(folder, 'valkey-server'), 0o755);
  writeFileSync(join(folder, 'redis-server'), 'not executable');
});
afterAll(() => rmSync(folder, { recursive: true }));

it('finds the first program on PATH that can be executed', () => {
  const path = `/nonexistent:${folder}`;
  expect(findProgram(['redis-server', 'valkey-server'], path)).toBe(join(folder, 'valkey-server'));
  expect(findProgram(['redis-server'], path)).toBeUndefined();
});

it('takes an absolute path for itself', () => {
  const program = join(folder, 'valkey-server');
  expect(findProgram([program], '/nonexistent')).toBe(program);
});

it('asks for the paths of a need as well as for its program', () => {
  const shell = { purpose: 'tests', programs: ['sh'], packages: ['dash'] };
  expect(isMet(shell)).toBe(true);
  expect(isMet({ ...shell, paths: [folder] })).toBe(true);
  expect(isMet({ ...shell, paths: [join(folder, 'model')] })).toBe(false);
});

it('names what is missing, what for, and one command for all of it', () => {
  const text = whatToType([REDIS_NEED, FFMPEG_NEED]);
  expect(text).toContain('redis-server is missing: it is for the queues (or set REDIS_URL).');
  expect(text).toContain('ffmpeg is missing');
  expect(text).toMatch(/^Install with: .*redis-server ffmpeg$/m);
});

it('says and does nothing when nothing is missing', async () => {
  const said: string[] = [];
  await ensureSystemPackages(
    [{ purpose: 'tests', programs: ['sh'], packages: ['no-such-package'] }],
    (text) => said.push(text),
  );
  expect(said).toEqual([]);
});
