import { existsSync, globSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, it } from 'vitest';

const ROOT = join(import.meta.dirname, '..');
const STAGES = ['llm', 'tts', 'stt'] as const;

const readText = (file: string): string => readFileSync(join(ROOT, file), 'utf8');
const readme = readText('README.md');

/** Words between backticks, blocks of code left out. */
const quoted = (text: string): string[] =>
  [...text.replaceAll(/^```[^]*?^```/gm, '').matchAll(/`([^`\n]+)`/g)].map(([, word = '']) => word);

/** The text from a heading to the next one. */
function sectionUnder(heading: string): string {
  const [, section = ''] = readme.split(`\n${heading}\n`);
  return section.split(/\n##+ /, 1)[0] ?? '';
}

/** The rows of a section's table, as cells. */
function tableUnder(heading: string): string[][] {
  return sectionUnder(heading)
    .split('\n')
    .filter((line) => line.startsWith('| '))
    .slice(1)
    .map((line) =>
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
}

interface EngineRow {
  description: string;
  variables: string[];
}

interface RegisteredEngine {
  description: string;
  config: object;
}

/** The keys of a zod schema's objects, through what is wrapped around them. */
function variablesOf(schema: unknown): string[] {
  const { def } = Object(schema) as { def?: Record<string, unknown> };
  if (!def) return [];
  if (def['type'] === 'object') return Object.keys(def['shape'] as object);
  return ['left', 'right', 'in', 'innerType'].flatMap((part) => variablesOf(def[part]));
}

/** Loaded by a path that is put together here: nothing imports an app. */
async function load(file: string): Promise<Record<string, unknown>> {
  return (await import(pathToFileURL(join(ROOT, file)).href)) as Record<string, unknown>;
}

async function registeredEngines(): Promise<Map<string, EngineRow>> {
  const engines = new Map<string, EngineRow>();
  for (const stage of STAGES) {
    const registry = (await load(`apps/${stage}-worker/src/engines/index.ts`))[`${stage}Engines`];
    for (const [name, engine] of Object.entries(registry as Record<string, RegisteredEngine>)) {
      const { description, config } = engine;
      engines.set(`${stage} ${name}`, { description, variables: variablesOf(config).toSorted() });
    }
  }
  return engines;
}

it("README's table has every engine with its description and its variables, and no other", async () => {
  const rows = tableUnder('## Engines').map(
    ([stage = '', name = '', description = '', variables = '']): [string, EngineRow] => [
      `${stage} ${quoted(name)[0] ?? ''}`,
      { description, variables: quoted(variables).toSorted() },
    ],
  );
  const engines = await registeredEngines();
  expect(engines.size).toBeGreaterThan(5);
  expect(rows).toHaveLength(engines.size);
  expect(new Map(rows)).toEqual(engines);
});

it("README's table has every route of /openapi.json, and no other", async () => {
  const { OPERATIONS } = await load('apps/gateway/src/openai/openapi-operations.ts');
  const routes = (OPERATIONS as { method: string; path: string }[]).map(
    ({ method, path }) => `${method.toUpperCase()} ${path}`,
  );
  const rows = tableUnder('## Endpoints').flatMap(([route = '']) => quoted(route));
  expect(rows.toSorted()).toEqual(routes.toSorted());
});

const documents = ['README.md', 'CONTRIBUTING.md', 'THIRD_PARTY.md', 'CHANGELOG.md'].concat(
  globSync('docs/**/*.md', { cwd: ROOT }),
);

it.each(documents)('the links of %s lead to files', (document) => {
  const targets = [...readText(document).matchAll(/\]\(([^)#:]+)(?:#[^)]*)?\)/g)];
  const broken = targets
    .map(([, target = '']) => target)
    .filter((target) => !existsSync(join(ROOT, dirname(document), target)));
  expect(broken).toEqual([]);
});

it('docs/lifecycle.md names every script and every event, and no other', async () => {
  const lifecycle = readText('docs/lifecycle.md');
  const cells = lifecycle.split('\n').map((line) => line.split(' | ', 1)[0] ?? '');
  const named = cells.filter((cell) => cell.startsWith('| `')).flatMap((cell) => quoted(cell));
  const found = globSync('{apps,packages}/*/src/**/*.lua', { cwd: ROOT });
  const scripts = found.map((path) => basename(path));
  expect(named.filter((name) => name.endsWith('.lua')).toSorted()).toEqual(scripts.toSorted());
  const types = readText('packages/shared/src/streams/stream-event.ts').matchAll(
    /type: '([a-z-]+)'/g,
  );
  const events = [...types].map(([, type = '']) => type);
  const rows = named.filter((name) => /^[a-z]+-[a-z]+$/.test(name));
  expect(rows.toSorted()).toEqual(events.toSorted());
});

it('the documents name no variable that .env.example does not have', () => {
  const shown = readText('.env.example').matchAll(/^#?([A-Z][A-Z0-9_]*)=/gm);
  const known = new Set([...shown].map(([, name]) => name));
  const named = ['README.md', 'docs/lifecycle.md', 'docs/errors.md']
    .flatMap((document) => quoted(readText(document)))
    .map((text) => text.split('=', 1)[0] ?? '')
    .filter((name) => /^[A-Z][A-Z0-9]*(_[A-Z0-9]+)+$/.test(name) && name !== 'ANTIPHON_KEY');
  const examples = sectionUnder('### Better ones').matchAll(/^([A-Z][A-Z0-9_]*)=/gm);
  const all = [...named, ...[...examples].map(([, name]) => name)];
  expect(all.length).toBeGreaterThan(30);
  expect(all.filter((name) => !known.has(name))).toEqual([]);
});
