import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import {
  baseUrl,
  linesToPaste,
  loadDotEnv,
  playerNeed,
  pocketsphinxNeed,
  startEnvironment,
  systemNeeds,
} from './start-environment.ts';

afterEach(() => {
  delete process.env['ANTIPHON_TEST_A'];
  delete process.env['ANTIPHON_TEST_B'];
});

it('reads .env, and the real environment wins', () => {
  const root = mkdtempSync(join(tmpdir(), 'antiphon-env-'));
  writeFileSync(join(root, '.env'), 'ANTIPHON_TEST_A=file\nANTIPHON_TEST_B="two words"\n');
  process.env['ANTIPHON_TEST_A'] = 'real';
  loadDotEnv(root);
  expect(process.env['ANTIPHON_TEST_A']).toBe('real');
  expect(process.env['ANTIPHON_TEST_B']).toBe('two words');
  rmSync(root, { recursive: true });
  expect(() => loadDotEnv(root)).not.toThrow();
});

it('fills in what is unset or empty and keeps the rest', () => {
  const environment = startEnvironment({ PORT: '9000', AI_SERVICE: '', PATH: '/bin' }, '/srv/x');
  expect(environment).toMatchObject({
    PORT: '9000',
    HOST: '127.0.0.1',
    AI_SERVICE: 'demo',
    TTS_SERVICE: 'flite',
    STT_SERVICE: 'pocketsphinx',
    DATA_DIR: '/srv/x/.data',
    PATH: '/bin',
  });
});

it('falls back to espeak where it is installed, unless another engine is named', () => {
  expect(startEnvironment({}, '/')['TTS_FALLBACK_SERVICE']).toBe('espeak');
  const named = startEnvironment({ TTS_FALLBACK_SERVICE: 'openai' }, '/');
  expect(named['TTS_FALLBACK_SERVICE']).toBe('openai');
});

it('gives no worker the health port of another', () => {
  expect(startEnvironment({ HEALTH_PORT: '9001' }, '/')).not.toHaveProperty('HEALTH_PORT');
});

it('asks the system only for what the chosen engines use', () => {
  const packages = (given: Record<string, string>) =>
    systemNeeds(given).flatMap((need) => need.packages);
  expect(packages({ STT_SERVICE: 'pocketsphinx', TTS_SERVICE: 'flite' })).toEqual([
    'redis-server',
    'ffmpeg',
    'pocketsphinx',
    'pocketsphinx-en-us',
  ]);
  expect(packages({ REDIS_URL: 'redis://h', STT_SERVICE: 'openai' })).toEqual(['ffmpeg']);
  expect(packages({ REDIS_URL: 'redis://h', TTS_FALLBACK_SERVICE: 'espeak' })).toEqual([
    'ffmpeg',
    'espeak-ng',
  ]);
  expect(packages({ REDIS_URL: 'redis://h', TTS_SERVICE: 'espeak' })).toContain('espeak-ng');
});

it('looks for pocketsphinx where its engine does', () => {
  const need = pocketsphinxNeed({
    STT_POCKETSPHINX_PATH: '/opt/ps/bin/ps',
    STT_POCKETSPHINX_MODEL_DIR: '/opt/ps/model',
  });
  expect(need).toMatchObject({ programs: ['/opt/ps/bin/ps'], paths: ['/opt/ps/model'] });
});

it('asks for a program that plays only where the speaker is chosen', () => {
  const packages = (given: Record<string, string>) =>
    systemNeeds({ REDIS_URL: 'redis://h', ...given }).flatMap((need) => need.packages);
  expect(packages({ AUDIO_PLAYER: 'none' })).toEqual(['ffmpeg']);
  expect(packages({ AUDIO_PLAYER: 'file' })).toEqual(['ffmpeg']);
  expect(packages({ AUDIO_PLAYER: 'speaker' })).toEqual(['ffmpeg', 'alsa-utils']);
});

it('looks for the player that is set, or for any', () => {
  expect(playerNeed({}).programs).toEqual(expect.arrayContaining(['aplay', 'pacat', 'pw-play']));
  expect(playerNeed({ AUDIO_PLAYER_PROGRAM: '/opt/pw/pw-play' })).toMatchObject({
    programs: ['/opt/pw/pw-play'],
    packages: ['pipewire-bin'],
  });
});

it.each([
  ['127.0.0.1', 'http://127.0.0.1:8000'],
  ['0.0.0.0', 'http://127.0.0.1:8000'],
  ['::', 'http://127.0.0.1:8000'],
  ['::1', 'http://[::1]:8000'],
  ['voice.lan', 'http://voice.lan:8000'],
])('reaches the gateway of HOST %s at %s', (host, url) => {
  expect(baseUrl({ HOST: host, PORT: '8000' })).toBe(url);
});

it('shows three commands, and the key by name only', () => {
  const open = linesToPaste({ HOST: '127.0.0.1', PORT: '8000' });
  expect(open).toHaveLength(3);
  expect(open.join()).not.toContain('Authorization');
  const keyed = linesToPaste({ HOST: '127.0.0.1', PORT: '8000', API_KEYS: 'sk-secret' });
  expect(keyed).toHaveLength(4);
  expect(keyed.slice(1).every((line) => line.includes('Bearer $ANTIPHON_KEY'))).toBe(true);
  expect(keyed.join()).not.toContain('sk-secret');
});
