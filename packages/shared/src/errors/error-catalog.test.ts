import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { ERROR_CATALOG, type ErrorDefinition } from './error-catalog.ts';

const DOCUMENT = join(import.meta.dirname, '../../../../docs/errors.md');
/** What stands below has codes of its own (batch-fault.test.ts). */
const [text = ''] = readFileSync(DOCUMENT, 'utf8').split('\n## Batches\n');

type DocumentedError = Required<ErrorDefinition>;

const unquoted = (cell: string): string => cell.replaceAll('`', '');

/** The rows of the document's table, by code: `| code | status | type | code in the body | retry | message |`. */
function documentedErrors(): Map<string, DocumentedError> {
  const rows = text
    .split('\n')
    .filter((line) => line.startsWith('| `'))
    .map((line) => line.split('|').map((cell) => cell.trim()));
  return new Map(
    rows.map(([, code = '', status, type = '', apiCode = '', retryable, message = '']) => [
      unquoted(code),
      {
        status: Number(status),
        type: unquoted(type),
        retryable: retryable === 'yes',
        message: unquoted(message),
        apiCode: apiCode === 'null' ? null : unquoted(apiCode),
      },
    ]),
  );
}

const definitions: Record<string, ErrorDefinition> = ERROR_CATALOG;

const catalog = new Map(
  Object.entries(definitions).map(([code, definition]): [string, DocumentedError] => [
    code,
    { ...definition, apiCode: definition.apiCode === undefined ? code : definition.apiCode },
  ]),
);

it('docs/errors.md lists the codes of the catalog, each once, and no other', () => {
  const listed = [...text.matchAll(/^\| `(\w+)`/gm)].map(([, code = '']) => code);
  expect(listed.toSorted()).toEqual([...catalog.keys()].toSorted());
});

it.each([...catalog])('docs/errors.md tells the truth about %s', (code, definition) => {
  expect(documentedErrors().get(code)).toEqual(definition);
});

it('docs/errors.md says of each code when it happens', () => {
  const explained = [...text.matchAll(/^- `(\w+)`: \S/gm)].map(([, code = '']) => code);
  expect(explained.toSorted()).toEqual([...catalog.keys()].toSorted());
});
