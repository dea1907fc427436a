import { globSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { describe, expect, it } from 'vitest';

const FOLDER = import.meta.dirname;

/** Every fault that has a promise, and the file of this folder that holds us to it. */
const TESTED: Record<string, string> = {
  ...{ F01: 'worker-faults', F02: 'worker-faults', F03: 'worker-faults', F04: 'redis-faults' },
  ...{ F05: 'redis-faults', F06: 'redis-faults', F07: 'gateway-faults', F08: 'client-faults' },
  ...{ F09: 'redis-faults', F10: 'redis-faults', F11: 'redis-faults', F12: 'client-faults' },
  ...{ F13: 'client-faults', F14: 'upstream-faults', F15: 'upstream-faults' },
  ...{ F16: 'upstream-faults', F17: 'phrase-faults', F18: 'worker-faults' },
  ...{
    F19: 'tenant-faults',
    F20: 'gateway-faults',
    F21: 'worker-faults',
    F22: 'resources',
    F23: 'client-faults',
    F26: 'tenant-faults',
  },
  ...{ B01: 'bad-input', B02: 'bad-input', B03: 'bad-input', B04: 'bad-input' },
  ...{ B07: 'bad-input', B08: 'bad-input', B09: 'bad-input', B10: 'bad-input' },
  B11: 'start-faults',
};

/** Tests that run only at times, or keep others from running. */
const LEFT_OUT = /\b(?:it|test|describe)\.(?:skip|skipIf|runIf|todo|only|fails)\b|\.skip\(/g;

const namedIn = (files: string[]) =>
  new Set(
    files.flatMap((file) =>
      [...readFileSync(file, 'utf8').matchAll(/['"`]([FB]\d\d) /g)].map(([, id]) => id ?? ''),
    ),
  );
const tests = globSync('*.test.ts', { cwd: FOLDER }).map((file) => join(FOLDER, file));
const own = tests.filter((file) => basename(file) !== 'fault-table.test.ts');
describe('the table of faults', () => {
  it.each(Object.entries(TESTED))('%s is tested in %s', (id, name) => {
    const file = join(FOLDER, `${name}.test.ts`);
    expect(namedIn([file])).toContain(id);
  });

  it('holds every fault that a test names', () => {
    const named = [...namedIn(own)];
    expect(named.filter((id) => !(id in TESTED))).toEqual([]);
  });

  it('holds none that is left out at a run', () => {
    const leftOut = tests.flatMap((file) =>
      [...readFileSync(file, 'utf8').matchAll(LEFT_OUT)].map(([word]) => `${file}: ${word}`),
    );
    expect(leftOut).toEqual([]);
  });

  it('has no fault without a test: what is left out is an answer in files of our own', () => {
    const numbers = (letter: string) =>
      Object.keys(TESTED).flatMap((id) => (id.startsWith(letter) ? [Number(id.slice(1))] : []));
    const missing = (letter: string) => {
      const known = new Set(numbers(letter));
      return Array.from({ length: Math.max(...known) }, (_, index) => index + 1).filter(
        (number) => !known.has(number),
      );
    };
    // 24 and 25 name nothing; B05 and B06 are recordings, in the audio tests of packages/shared.
    expect(missing('F')).toEqual([24, 25]);
    expect(missing('B')).toEqual([5, 6]);
  });
});
