import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { INPUT_FAULT_CODES, UNDONE_CODES } from './batch-fault.ts';

const DOCUMENT = join(import.meta.dirname, '../../../../docs/errors.md');

/** The codes of the document's table of batches, by where they stand. */
function documentedCodes(place: string): string[] {
  const [, section = ''] = readFileSync(DOCUMENT, 'utf8').split('\n## Batches\n');
  const rows = section.matchAll(/^\| `(\w+)` \| ([^|]+) \| [^|]+ \|$/gm);
  return [...rows].filter(([, , where = '']) => where === place).map(([, code = '']) => code);
}

it.each([
  ['`errors` of the batch', INPUT_FAULT_CODES],
  ['the error file', UNDONE_CODES],
])('docs/errors.md lists what %s may say, each once, and nothing else', (place, codes) => {
  expect(documentedCodes(place).toSorted()).toEqual([...codes].toSorted());
});
