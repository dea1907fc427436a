import { readdirSync } from 'node:fs';
import { expect, test } from 'vitest';
import { ttsEngines } from './index.ts';

test('the index has every engine file of the folder', () => {
  const files = readdirSync(import.meta.dirname)
    .filter((name) => name.endsWith('.ts') && !name.endsWith('.test.ts') && name !== 'index.ts')
    .map((name) => name.slice(0, -'.ts'.length));
  expect(Object.keys(ttsEngines).sort()).toEqual(files.sort());
});

test('every engine says what it is and has a sensible concurrency', () => {
  for (const { description, defaultConcurrency } of Object.values(ttsEngines)) {
    expect(description.length).toBeGreaterThan(20);
    expect(defaultConcurrency).toBeGreaterThan(0);
  }
});
