import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { decodeToPcm } from '@antiphon/testing/decode-audio';
import { SPOKEN_SENTENCES } from '@antiphon/testing/spoken-sentences';
import { until } from '@antiphon/testing/until';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Stack, startStack } from './stack.ts';

const SAMPLE_RATE_HZ = 24_000;
/** A pair that is heard one behind the other. */
const [FIRST, SECOND] = [SPOKEN_SENTENCES[0], SPOKEN_SENTENCES[9]];
const WITH_CODE = `${FIRST.sentence}\n\n\`\`\`\nyellow = submarine(elephant)\n\`\`\`\n\n${SECOND.sentence}`;
/** Half a minute of text at 30 tokens a second. */
const LONG = Array.from({ length: 60 }, (_, index) => `This is sentence number ${index}.`).join(
  ' ',
);

let stack: Stack;
beforeAll(async () => {
  stack = await startStack({
    apps: ['gateway', 'llm-worker', 'tts-worker', 'stt-worker'],
    environment: {
      AUDIO_PLAYER: 'file',
      SYSTEM_PROMPT: 'You are heard, not read.',
      LLM_DEMO_TOKENS_PER_SECOND: '30',
      SHUTDOWN_DRAIN_MS: '500',
    },
    models: ['demo', 'tts-1', 'whisper-1'],
  });
}, 60_000);
afterAll(() => stack?.close());

const folder = () => join(stack.dataDirectory, 'played');
const isPartOf = (name: string, streamId: string) =>
  name.startsWith(streamId) && name.endsWith('.part');
const wavOf = (streamId: string) => readFile(join(folder(), `${streamId}.wav`));
const post = (path: string) => fetch(`${stack.rootUrl}${path}`, { method: 'POST' });
async function look(streamId: string) {
  const response = await fetch(`${stack.baseUrl}/streams/${streamId}`);
  return (await response.json()) as { status: string };
}
const ended = (streamId: string) =>
  until(async () => ((await look(streamId)).status === 'open' ? undefined : look(streamId)), {
    timeoutMs: 20_000,
  });

/** What any HTTP client gets: headers, then text as it is written. */
async function ask(text: string) {
  const response = await fetch(`${stack.rootUrl}/api/openai`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ messages: [{ role: 'user', content: `say: ${text}` }] }),
  });
  let received = '';
  const read = async () => {
    const decoder = new TextDecoder();
    for await (const part of response.body ?? [])
      received += decoder.decode(part, { stream: true });
  };
  const whole = read().then(
    () => true,
    () => false,
  );
  const streamId = response.headers.get('x-stream-id') ?? '';
  return { response, streamId, text: () => received, whole };
}

/** Seconds of sound by counting samples; the header's sizes must be exact. */
async function secondsOf(wav: Buffer): Promise<number> {
  expect(wav.readUInt32LE(4)).toBe(wav.length - 8);
  expect(wav.readUInt32LE(40)).toBe(wav.length - 44);
  return (await decodeToPcm(wav, { sampleRateHz: SAMPLE_RATE_HZ })).length / SAMPLE_RATE_HZ;
}

it('writes all of the text, and speaks what is no code', async () => {
  const { response, streamId, text, whole } = await ask(WITH_CODE);
  expect(response.headers.get('content-type')).toBe('text/plain; charset=utf-8');
  expect(await whole).toBe(true);
  expect(text().trim()).toBe(WITH_CODE);
  expect(await ended(streamId)).toMatchObject({ status: 'done', playback: { ended: true } });
  const wav = await wavOf(streamId);
  expect(await secondsOf(wav)).toBeGreaterThan(4);
  const form = new FormData();
  form.set('model', 'whisper-1');
  form.set('file', new Blob([new Uint8Array(wav)]), 'answer.wav');
  const url = `${stack.baseUrl}/audio/transcriptions`;
  const heard = (await (await fetch(url, { method: 'POST', body: form })).json()) as {
    text: string;
  };
  const words = heard.text.toLowerCase().split(/\W+/);
  const missing = [...FIRST.keyWords, ...SECOND.keyWords].filter((word) => !words.includes(word));
  expect({ heard, missing }).toEqual({ heard, missing: [] });
  for (const word of ['yellow', 'submarine', 'elephant']) expect(words).not.toContain(word);
});

it('of two at once stops the one that is told to, and the other is heard to its end', async () => {
  const [stopped, other] = await Promise.all([ask(LONG), ask(WITH_CODE)]);
  await until(async () => {
    const names = await readdir(folder());
    return [stopped, other].every(({ streamId }) => names.some((name) => isPartOf(name, streamId)));
  });
  await until(() => stopped.text().includes('number 2'));
  const answer = await post(`/api/stop/${stopped.streamId}`);
  expect(await answer.json()).toEqual({ status: 'stopped', stream_id: stopped.streamId });
  expect(await stopped.whole).toBe(false);
  expect(LONG.startsWith(stopped.text())).toBe(true);
  expect(await other.whole).toBe(true);
  expect(await ended(other.streamId)).toMatchObject({ status: 'done' });
  expect(await look(stopped.streamId)).toMatchObject({ status: 'cancelled' });
  const wav = await until(() => wavOf(stopped.streamId).catch(() => undefined));
  expect(await secondsOf(wav)).toBeLessThan(60);
  expect(await secondsOf(await wavOf(other.streamId))).toBeGreaterThan(4);
});

it('ends what plays longer than SHUTDOWN_DRAIN_MS, and leaves whole files behind', async () => {
  const { streamId, text, whole } = await ask(LONG);
  await until(() => text().includes('number 1'));
  const [gateway] = stack.processes;
  expect(await gateway?.stop('SIGTERM')).toBe(0);
  expect(await whole).toBe(false);
  const names = await readdir(folder());
  expect(names.filter((name) => name.endsWith('.part'))).toEqual([]);
  await secondsOf(await wavOf(streamId));
});
