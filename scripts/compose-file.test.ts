import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { parse } from 'yaml';

const ROOT = join(import.meta.dirname, '..');
const WORKERS = ['llm-worker', 'tts-worker', 'stt-worker'];
/** Compose sets these itself, or the image does: paths, addresses, ports. */
const OF_THE_MACHINE = [
  ...['HOST', 'PORT', 'DATA_DIR', 'HEALTH_PORT', 'REDIS_URL', 'REDIS_PASSWORD', 'LOG_FORMAT'],
  ...['TTS_ESPEAK_PATH', 'STT_POCKETSPHINX_PATH', 'STT_POCKETSPHINX_MODEL_DIR'],
  ...['AUDIO_PLAYER_PROGRAM', 'AUDIO_PLAYER_DIR'],
];

interface ComposeFile {
  services: Record<string, { environment: Record<string, string | null>; volumes: string[] }>;
}

const text = readFileSync(join(ROOT, 'docker-compose.yml'), 'utf8');
/** As compose 2 reads it: a key that stands twice is an error (compose 1 takes the last one). */
const { services } = parse(text, { merge: true, uniqueKeys: true, strict: true }) as ComposeFile;
const variablesOf = (name: string) => Object.keys(services[name]?.environment ?? {});

it('starts Redis, the gateway and a worker for each stage', () => {
  expect(Object.keys(services)).toEqual(['redis', 'gateway', ...WORKERS]);
  for (const name of ['gateway', ...WORKERS])
    expect(services[name]?.volumes).toContain('data:/data');
});

it('hands on every variable of .env.example but those of the machine', () => {
  const example = readFileSync(join(ROOT, '.env.example'), 'utf8');
  const shown = [...example.matchAll(/^#?([A-Z][A-Z0-9_]*)=/gm)].map(([, name]) => name ?? '');
  const handed = ['gateway', ...WORKERS].flatMap(variablesOf);
  const missing = shown.filter((name) => !handed.includes(name));
  expect(missing.filter((name) => !OF_THE_MACHINE.includes(name))).toEqual([]);
});

it('hands what is for all processes to each of them', () => {
  const example = readFileSync(join(ROOT, '.env.example'), 'utf8');
  const [, all = ''] = example.split('# --- All processes ---\n');
  const shown = [...all.split('# ---')[0]!.matchAll(/^#?([A-Z][A-Z0-9_]*)=/gm)];
  expect(shown.length).toBeGreaterThan(5);
  for (const [, name = ''] of shown.filter(([, one = '']) => !OF_THE_MACHINE.includes(one)))
    for (const service of ['gateway', ...WORKERS]) expect(variablesOf(service)).toContain(name);
});
