import { readdirSync } from 'node:fs';
import { expect, test } from 'vitest';
import { llmEngines } from './index.ts';

test('the index has every engine file of the folder', () => {
  const files = readdirSync(import.meta.dirname)
    .filter((name) => name.endsWith('.ts') && !name.endsWith('.test.ts') && name !== 'index.ts')
    .map((name) => name.slice(0, -'.ts'.length));
  expect(Object.keys(llmEngines).sort()).toEqual(files.sort());
});

test('every engine says what it is and has a sensible concurrency', () => {
  for (const { description, defaultConcurrency } of Object.values(llmEngines)) {
    expect(description.length).toBeGreaterThan(20);
    expect(defaultConcurrency).toBeGreaterThan(0);
  }
});
