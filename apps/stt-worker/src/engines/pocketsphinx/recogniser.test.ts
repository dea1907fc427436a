import { expect, test } from 'vitest';
import { Recogniser, RecogniserFailure } from './recogniser.ts';
import { RecogniserSupply } from './recogniser-supply.ts';

const never = new AbortController().signal;

async function* textAsAudio(text: string): AsyncIterable<Uint8Array> {
  yield Buffer.from(text);
}

async function linesOf(recogniser: Recogniser, text = '', signal = never): Promise<string[]> {
  const lines: string[] = [];
  for await (const line of recogniser.lines(() => textAsAudio(text), signal)) lines.push(line);
  return lines;
}

test('what is fed reaches a program that opens /dev/stdin by name', async () => {
  const recogniser = new Recogniser('cat', ['/dev/stdin']);
  expect(await linesOf(recogniser, 'one\ntwo\n')).toEqual(['one', 'two']);
  expect(recogniser.running).toBe(false);
});

test('arguments are never read as shell', async () => {
  const hostile = '$(echo a) `id` "; exit 7';
  expect(await linesOf(new Recogniser('echo', [hostile]))).toEqual([hostile]);
});

test('one for the background gives way to all else', async () => {
  const [here] = await linesOf(new Recogniser('nice', []));
  expect(Number(here)).toBeLessThan(19);
  expect(await linesOf(new Recogniser('nice', [], { background: true }))).toEqual(['19']);
  const missing = linesOf(new Recogniser('no-such-program', [], { background: true }));
  await expect(missing).rejects.toMatchObject({ exitCode: 127 });
});

test('a failure has the exit code and the complaint, not what was recognised', async () => {
  const script = 'echo "INFO: the secret words" >&2; echo "ERROR: no model" >&2; exit 3';
  const failed = linesOf(new Recogniser('/bin/sh', ['-c', script]));
  await expect(failed).rejects.toMatchObject({ exitCode: 3 });
  await expect(failed).rejects.toThrow(/ERROR: no model/);
  await expect(failed).rejects.not.toThrow(/secret/);
});

test('a program that ends before the audio does has failed', async () => {
  const endless = async function* () {
    for (;;) yield new Uint8Array(100_000);
  };
  const recogniser = new Recogniser('true', []);
  const lines = recogniser.lines(endless, never)[Symbol.asyncIterator]();
  await expect(lines.next()).rejects.toBeInstanceOf(RecogniserFailure);
});

test('an abort kills the program and throws its reason', async () => {
  const stop = new AbortController();
  const recogniser = new Recogniser('/bin/sh', ['-c', 'echo ready; exec sleep 600']);
  const lines = recogniser.lines(() => textAsAudio(''), stop.signal)[Symbol.asyncIterator]();
  expect(await lines.next()).toEqual({ done: false, value: 'ready' });
  const reason = new Error('enough');
  stop.abort(reason);
  await expect(lines.next()).rejects.toBe(reason);
  expect(recogniser.running).toBe(false);
});

test('the supply hands out what waits, replaces what died, and stops all when closed', async () => {
  const started: Recogniser[] = [];
  const supply = new RecogniserSupply(() => {
    const recogniser = new Recogniser('cat', []);
    started.push(recogniser);
    return recogniser;
  });
  supply.warm();
  supply.warm();
  expect(started.length).toBe(1);
  const first = supply.take();
  const second = supply.take();
  expect([first, second]).toEqual(started);
  expect(first).not.toBe(second);
  supply.release(first);
  expect(started.length).toBe(3);
  await started[2]?.stop();
  expect(supply.take()).toBe(started[3]);
  await supply.close();
  supply.release(second);
  expect(started.map(({ running }) => running)).toEqual([true, false, false, false]);
  await first.stop();
  expect(() => supply.take()).toThrow(/shutting down/);
});

test('the supply keeps the spare one for who waits', async () => {
  const started: boolean[] = [];
  const supply = new RecogniserSupply((options) => {
    started.push(options?.background === true);
    return new Recogniser('cat', []);
  });
  supply.warm();
  const background = supply.take({ background: true });
  expect(started).toEqual([false, true]);
  supply.take();
  expect(started).toEqual([false, true]);
  supply.release(background);
  expect(started).toEqual([false, true, false]);
  await supply.close();
  expect(background.running).toBe(true);
  await background.stop();
});
