import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { decodeToPcm } from '@antiphon/testing/decode-audio';
import { until } from '@antiphon/testing/until';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Stack, startStack } from './stack.ts';

const RATE_HZ = 24_000;
const BOOK = `The House by the Water
A story in two parts, which was told by the fire on a long night in winter,
when nobody wanted to go to bed, and the snow lay before every door of the town

CHAPTER I. The Door

The door was open when she came back, and nobody
had closed it all day long.

She stood still. The wind came in from the sea, and it
was cold.

"Is anybody there?" she asked.

Nobody answered her.

CHAPTER II. The Garden

Behind the house there was a garden with seven old trees.

A man was digging under one of them. He did not hear her
coming, and he did not stop.

"What are you looking for?" she asked him.

"For the key," he said. "The key of your door."

They laughed together for a long time.
`;

let stack: Stack;
let directory: string;
beforeAll(async () => {
  stack = await startStack({
    apps: ['gateway', 'tts-worker', 'stt-worker'],
    models: ['flite', 'pocketsphinx'],
  });
  directory = await mkdtemp(join(tmpdir(), 'antiphon-book-'));
  await writeFile(join(directory, 'house.txt'), BOOK);
}, 60_000);
afterAll(async () => {
  await stack?.close();
  if (directory) await rm(directory, { recursive: true, force: true });
});

function startCli(...args: string[]) {
  const main = new URL('../../apps/cli/src/main.ts', import.meta.url).pathname;
  const child = spawn(process.execPath, [main, 'batch', ...args], {
    cwd: directory,
    env: { PATH: process.env['PATH'], OPENAI_BASE_URL: stack.baseUrl },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const written = { stderr: '' };
  child.stderr.on('data', (part: Buffer) => (written.stderr += part.toString()));
  const outcome = Promise.all([text(child.stdout), once(child, 'close')]).then(
    ([stdout, [code]]) => ({ stdout, stderr: written.stderr, code: code as number | null }),
  );
  return { child, written, outcome };
}

interface Chapter {
  title: string;
  file: string;
  startSeconds: number;
  durationSeconds: number;
  paragraphs: { startSeconds: number; text: string }[];
}

const read = async (name: string): Promise<unknown> =>
  JSON.parse(await readFile(join(directory, 'house', name), 'utf8'));

/** How loud it is, from 0 to 1. */
function loudness(samples: Int16Array, fromSeconds: number, toSeconds: number): number {
  const part = samples.subarray(fromSeconds * RATE_HZ, toSeconds * RATE_HZ);
  const energy = part.reduce((sum, sample) => sum + (sample / 32_768) ** 2, 0);
  return Math.sqrt(energy / Math.max(1, part.length));
}

it('a book is spoken by a batch, survives Ctrl-C, and each chapter is as long as its parts', async () => {
  const args = ['speak', 'house.txt', '--format', 'mp3', '--keep'];
  const first = startCli(...args);
  await until(() => first.written.stderr.includes('speaks 12 of 12 paragraphs'));
  first.child.kill('SIGINT');
  const stopped = await first.outcome;
  expect(stopped.stderr).toMatch(/goes on on the server/);
  expect(stopped.code).toBe(130);

  const { code, stdout, stderr } = await startCli(...args).outcome;
  expect(stderr).toMatch(
    /^antiphon: going on: 12 of 12 paragraphs are missing, of batch_[^]+3 chapters/,
  );
  expect(code).toBe(0);
  expect(stdout.split('\n')).toHaveLength(4);
  expect((await readdir(join(directory, 'house'))).sort()).toStrictEqual([
    ...['.antiphon-batch.json', '00-beginning.mp3', '01-chapter-i-the-door.mp3'],
    ...['02-chapter-ii-the-garden.mp3', 'chapters.m3u', 'contents.json', 'contents.txt'],
  ]);

  const { sounds } = (await read('.antiphon-batch.json')) as {
    sounds: Record<string, { bytes: number }>;
  };
  const { chapters } = (await read('contents.json')) as { chapters: Chapter[] };
  let startSeconds = 0;
  let part = 0;
  for (const chapter of chapters) {
    expect(chapter.startSeconds).toBeCloseTo(startSeconds, 2);
    const bytes = await readFile(join(directory, 'house', chapter.file));
    const samples = await decodeToPcm(bytes, { sampleRateHz: RATE_HZ });
    const pauses: number[] = [];
    let seconds = 0;
    for (const [at, paragraph] of chapter.paragraphs.entries()) {
      expect(paragraph.startSeconds).toBeCloseTo(seconds, 2);
      const partSeconds = (sounds[part]?.bytes ?? Number.NaN) / 2 / RATE_HZ;
      const isHeading = at === 0 && chapter.title !== 'Beginning';
      const isLast = at === chapter.paragraphs.length - 1;
      // The codec's own delay moves all by 50 ms at most.
      expect(loudness(samples, seconds + 0.1, seconds + partSeconds)).toBeGreaterThan(0.01);
      const quiet = seconds + partSeconds + 0.1;
      pauses.push(isLast ? 0 : loudness(samples, quiet, quiet + 0.5));
      seconds += partSeconds + (isLast ? 0 : isHeading ? 1 : 0.7);
      part += 1;
    }
    expect(Math.max(...pauses)).toBeLessThan(0.001);
    expect(chapter.durationSeconds).toBeCloseTo(seconds, 2);
    // mp3 pads the ends, by 60 ms: no chapter here is shorter than 6 s.
    expect(Math.abs(samples.length / RATE_HZ / seconds - 1)).toBeLessThan(0.01);
    startSeconds += seconds;
  }
  expect(part).toBe(12);
});

async function filesOnServer(): Promise<number> {
  const response = await fetch(`${stack.baseUrl}/files`);
  const { data } = (await response.json()) as { data: unknown[] };
  return data.length;
}

it('nothing is left on the server without --keep', async () => {
  const before = await filesOnServer();
  const { code } = await startCli('speak', 'house.txt', '--out', 'other', '--format', 'wav')
    .outcome;
  expect(code).toBe(0);
  expect(await filesOnServer()).toBe(before);
});

it('recordings become subtitles beside them', async () => {
  const { code } = await startCli('speak', 'house.txt', '--out', 'heard', '--format', 'flac')
    .outcome;
  expect(code).toBe(0);
  const before = await filesOnServer();
  const recordings = ['00-beginning.flac'];
  const paths = recordings.map((name) => join('heard', name));
  const outcome = await startCli('transcribe', ...paths, '--format', 'srt').outcome;
  expect(outcome.code).toBe(0);
  for (const name of recordings) {
    const path = join(directory, 'heard', name.replace('.flac', '.srt'));
    expect(outcome.stdout).toContain(`${path}\n`);
    expect(await readFile(path, 'utf8')).toMatch(/^1\n00:00:0\d,\d{3} --> 00:\d\d:\d\d,\d{3}\n\S/);
  }
  expect(await filesOnServer()).toBe(before);
});
