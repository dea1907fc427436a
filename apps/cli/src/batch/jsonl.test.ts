import { array, assert, asyncProperty, configureGlobal, integer, string } from 'fast-check';
import { expect, it } from 'vitest';
import { textLines } from './jsonl.ts';

/** The same texts in every run; `FAST_CHECK_SEED=7 npx vitest run src/batch` tries others. */
configureGlobal({ seed: Number(process.env['FAST_CHECK_SEED'] ?? 20_261_121) });

it('lines do not depend on how their bytes were cut; blank ones are left out', async () => {
  const line = string({ unit: 'binary' }).filter((text) => !/^\ufeff|[\n\ufffd]/.test(text));
  const cuts = array(integer({ min: 1, max: 7 }), { minLength: 1 });
  const isWhole = asyncProperty(array(line), cuts, async (lines, sizes) => {
    const found = await read(Buffer.from(lines.join('\n')), sizes);
    expect(found).toStrictEqual(lines.filter((text) => text.trim() !== ''));
  });
  await assert(isWhole);
});

async function read(bytes: Buffer, sizes: readonly number[]): Promise<string[]> {
  async function* parts() {
    for (let at = 0, turn = 0; at < bytes.length; turn += 1) {
      const size = sizes[turn % sizes.length] ?? 1;
      yield bytes.subarray(at, at + size);
      at += size;
    }
  }
  return Array.fromAsync(textLines(parts()));
}
