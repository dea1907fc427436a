import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { audioPlayers } from './index.ts';

test('the index has every player file of the folder', () => {
  const files = readdirSync(import.meta.dirname)
    .filter((name) => name.endsWith('.ts') && !name.endsWith('.test.ts'))
    .filter((name) =>
      readFileSync(join(import.meta.dirname, name), 'utf8').includes('= defineEngine('),
    )
    .map((name) => name.slice(0, -'.ts'.length));
  expect(Object.keys(audioPlayers).sort()).toEqual(files.sort());
});

test('every player says what it is', () => {
  for (const { description } of Object.values(audioPlayers)) {
    expect(description.length).toBeGreaterThan(20);
  }
});
