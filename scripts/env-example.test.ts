import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';

const ROOT = join(import.meta.dirname, '..');
/** How configuration schemas name a variable: `PORT: port(8000)`, `OPENAI_API_KEY: text`. */
const SCHEMA_KEY =
  /[\s{]([A-Z][A-Z0-9_]+): (?:z\b|port|flag|milliseconds|wholeNumber|commaList|redisUrl|url|text)/g;
/** Read by the start command and by compose, not by a process. */
const OUTSIDE = ['LOG_FORMAT', 'REDIS_PASSWORD'];
/** Put together from the stage's name in openai-config.ts. */
const PER_STAGE = ['LLM', 'TTS', 'STT'].flatMap((stage) =>
  ['BASE_URL', 'API_KEY', 'MODELS'].map((thing) => `${stage}_OPENAI_${thing}`),
);

const sources = globSync(['apps/*/src/**/*.ts', 'packages/shared/src/**/*.ts'], { cwd: ROOT })
  .filter((file) => !file.endsWith('.test.ts'))
  .map((file) => readFileSync(join(ROOT, file), 'utf8'));
const read = new Set(
  sources.flatMap((text) => [...text.matchAll(SCHEMA_KEY)].map(([, name]) => name)),
);
const example = readFileSync(join(ROOT, '.env.example'), 'utf8');
const shown = [...example.matchAll(/^#?([A-Z][A-Z0-9_]*)=/gm)].map(([, name]) => name);

it('.env.example shows every variable that a process reads', () => {
  expect(read.size).toBeGreaterThan(20);
  expect([...read].filter((name) => !shown.includes(name))).toEqual([]);
});

it('.env.example shows no variable that nobody reads, and none twice', () => {
  const known = new Set([...read, ...OUTSIDE, ...PER_STAGE]);
  expect(shown.filter((name) => !known.has(name))).toEqual([]);
  expect(new Set(shown).size).toBe(shown.length);
});
