import { readdirSync } from 'node:fs';
import { basename } from 'node:path';
import { expect, test } from 'vitest';
import { sttEngines } from './index.ts';

test('every engine file of this folder is in the index, under its own name', () => {
  const files = readdirSync(import.meta.dirname, { withFileTypes: true })
    .filter((entry) => entry.isFile() && /^(?!.*\.test\.ts$).*\.ts$/.test(entry.name))
    .map((entry) => basename(entry.name, '.ts'))
    .filter((name) => name !== 'index');
  expect(Object.keys(sttEngines).sort()).toEqual(files.sort());
});
