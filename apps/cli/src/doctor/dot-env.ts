import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseEnv } from 'node:util';
import { type CheckResult, ok, warning } from './check.ts';

/** What `npm start` would read beside the environment. */
export interface DotEnv {
  /** Undefined when there is no file. */
  variables: NodeJS.ProcessEnv | undefined;
  /** The names that exist, from `.env.example`. */
  known: string[];
}

export async function readDotEnv(root: string): Promise<DotEnv> {
  const text = await readFile(join(root, '.env'), 'utf8').catch(() => undefined);
  const example = await readFile(join(root, '.env.example'), 'utf8').catch(() => '');
  const known = [...example.matchAll(/^#?([A-Z][A-Z0-9_]*)=/gm)].map(([, name = '']) => name);
  return { variables: text === undefined ? undefined : parseEnv(text), known };
}

/** A name that nobody reads is a typing error that shows nowhere else. */
export function checkConfiguration({ variables, known }: DotEnv): CheckResult {
  if (!variables) return ok('no .env: everything has its default');
  const names = Object.keys(variables);
  const unknown = names.filter((name) => !known.includes(name));
  if (unknown.length === 0) return ok(`.env sets ${names.length} variables, all known`);
  const hints = unknown.map((name) => {
    const near = nearestName(name, known);
    return near === undefined ? name : `${name} (${near}?)`;
  });
  return warning(`.env has names that nobody reads: ${hints.join(', ')}`, 'see .env.example');
}

/** The known name that is a few letters away. */
function nearestName(name: string, known: readonly string[]): string | undefined {
  let best: { name: string; distance: number } | undefined;
  for (const candidate of known) {
    const distance = editDistance(name, candidate);
    if (distance < (best?.distance ?? 4)) best = { name: candidate, distance };
  }
  return best?.name;
}

function editDistance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, at) => at);
  for (let at = 1; at <= from.length; at += 1) {
    const next = [at];
    for (let other = 1; other <= to.length; other += 1) {
      const same = from[at - 1] === to[other - 1] ? 0 : 1;
      const replaced = (row[other - 1] ?? 0) + same;
      next.push(Math.min(replaced, (row[other] ?? 0) + 1, (next[other - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[to.length] ?? 0;
}
