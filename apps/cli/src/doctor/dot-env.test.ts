import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { checkConfiguration, readDotEnv } from './dot-env.ts';

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'antiphon-cli-'));
  await writeFile(
    join(root, '.env.example'),
    '# words\n#PORT=8000\nTTS_SERVICE=flite\n#API_KEYS=\n',
  );
});
afterEach(async () => {
  await rm(root, { recursive: true, force: true });
});

it('no .env is fine', async () => {
  expect(checkConfiguration(await readDotEnv(root)).status).toBe('ok');
});

it('known names are counted', async () => {
  await writeFile(join(root, '.env'), 'PORT=9000\nexport TTS_SERVICE="espeak" # why\n');
  const dotEnv = await readDotEnv(root);
  expect(dotEnv.variables).toMatchObject({ PORT: '9000', TTS_SERVICE: 'espeak' });
  expect(checkConfiguration(dotEnv)).toStrictEqual({
    status: 'ok',
    detail: '.env sets 2 variables, all known',
  });
});

it('an unknown name is told with the one that was meant, and without its value', async () => {
  await writeFile(
    join(root, '.env'),
    'TTS_SERVISE=canary\nSOMETHING_ELSE=canary\nAPI_KEY=canary\n',
  );
  const { status, detail } = checkConfiguration(await readDotEnv(root));
  expect(status).toBe('warning');
  expect(detail).toContain('API_KEY (API_KEYS?), SOMETHING_ELSE, TTS_SERVISE (TTS_SERVICE?)');
  expect(detail).not.toContain('canary');
});
