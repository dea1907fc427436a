import { once } from 'node:events';
import { readdir, stat } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { type OpenAIServer, startOpenAIServer } from '@antiphon/testing/openai-server';
import { PATIENCE, until } from '@antiphon/testing/until';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { type ChatTranscript, expectedTokens, readChatStream } from '../src/chat-stream.ts';
import { hum } from '../src/recording.ts';
import { type AppProcess, type Stack, startStack } from '../src/stack.ts';

const DRAIN_MS = 3000;
/** From the signal to the exit, at most. */
const EXIT_MS = DRAIN_MS + 2000;
const SHORT_TOKENS = 40;
const APPS = ['gateway', 'llm-worker', 'tts-worker', 'stt-worker'] as const;

let upstream: OpenAIServer;
let stack: Stack;
/** All calls that are still being answered, by what their body holds. */
const callsWith = (word: string) =>
  upstream.requests.filter(
    ({ closedAtMs, body, fields }) =>
      closedAtMs === undefined && JSON.stringify({ body, fields }).includes(word),
  ).length;

/** What holds `short` takes half a second, what holds `long` ends by itself in minutes. */
beforeEach(async () => {
  upstream = await startOpenAIServer({ tokens: 5 });
  const when = (word: string) => ({
    when: ({ body, fields }: { body?: unknown; fields: object }) =>
      JSON.stringify({ body, fields }).includes(word),
  });
  upstream.script({ ...when('short'), tokens: SHORT_TOKENS, tokenDelayMs: 15 });
  upstream.script({ ...when('long'), tokens: 10_000, tokenDelayMs: 15, audioSeconds: 600 });
  for (const [word, tokenDelayMs] of [
    ['short', 100],
    ['long', 10_000],
  ] as const)
    upstream.script({ ...when(word), path: '/audio/transcriptions', tokenDelayMs });
  upstream.script({ ...when('short'), path: '/audio/speech', audioSeconds: 1, tokenDelayMs: 50 });
  stack = await startStack({
    apps: [...APPS],
    environment: {
      SHUTDOWN_DRAIN_MS: String(DRAIN_MS),
      AI_SERVICE: 'openai',
      TTS_SERVICE: 'openai',
      STT_SERVICE: 'openai',
      OPENAI_BASE_URL: upstream.baseUrl,
      LLM_OPENAI_MODELS: 'scripted',
      TTS_OPENAI_MODELS: 'scripted-voice',
      TTS_OPENAI_VOICES: 'alloy',
      STT_OPENAI_MODELS: 'scripted-ears',
      AUDIO_PLAYER: 'file',
      CONCURRENCY: '16',
    },
    models: ['scripted', 'scripted-voice', 'scripted-ears'],
  });
}, 60_000);
afterEach(async () => {
  await stack?.close();
  await upstream?.close();
});

const processOf = (name: AppProcess['name']): AppProcess => {
  const found = stack.processes.find((started) => started.name === name);
  if (!found) throw new Error(`no ${name}`);
  return found;
};

/** Tells a process to stop: its code, in time. */
async function stopInTime(started: AppProcess): Promise<void> {
  const startedMs = performance.now();
  const code = await started.stop('SIGTERM');
  expect({ name: started.name, code }).toStrictEqual({ name: started.name, code: 0 });
  // Patience is for machines that are busy, not for another round of waiting.
  expect(performance.now() - startedMs).toBeLessThan(EXIT_MS + 1000 * PATIENCE);
  expect(started.output()).not.toContain('stalled');
}

const chat = (word: string) =>
  readChatStream(stack.baseUrl, {
    body: { model: 'scripted', messages: [{ role: 'user', content: word }] },
  });
const post = (path: string, body: object, headers: Record<string, string> = {}) =>
  fetch(`${stack.rootUrl}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  });

interface Heard {
  status: number;
  bytes: number;
  broken: boolean;
  code: string | undefined;
}

/** Bytes of sound, and whether the socket was cut. */
async function speak(input: string): Promise<Heard> {
  const body = { model: 'scripted-voice', voice: 'alloy', input, response_format: 'pcm' };
  return readToEnd(await post('/v1/audio/speech', body));
}

async function readToEnd(response: Response): Promise<Heard> {
  const heard: Heard = { status: response.status, bytes: 0, broken: false, code: undefined };
  const parts: Uint8Array[] = [];
  try {
    for await (const part of response.body ?? []) parts.push(part);
  } catch {
    heard.broken = true;
  }
  const whole = Buffer.concat(parts);
  if (heard.status >= 400)
    heard.code = (JSON.parse(whole.toString()) as { error: { code: string } }).error.code;
  return { ...heard, bytes: whole.length };
}

async function transcribe(prompt: string): Promise<Heard> {
  const form = new FormData();
  form.append('file', new Blob([new Uint8Array(hum(1))]), 'a.wav');
  form.append('model', 'scripted-ears');
  form.append('prompt', prompt);
  const response = await fetch(`${stack.baseUrl}/audio/transcriptions`, {
    method: 'POST',
    body: form,
  });
  return readToEnd(response);
}

function expectWhole({ contents, ...answer }: ChatTranscript, tokens = SHORT_TOKENS): void {
  expect(answer).toMatchObject({ done: true, errors: [], broken: false });
  expect(contents.join('').trim()).toBe(expectedTokens(tokens));
}

/** Its prefix without a hole, then one error, and no `[DONE]`. */
function expectCut({ contents, ...answer }: ChatTranscript, code: string): void {
  expect(answer).toMatchObject({ done: false, broken: false, finishReasons: [] });
  expect(answer.errors.map((error) => error.code)).toStrictEqual([code]);
  expect(contents.length).toBeGreaterThan(0);
  expect(contents.join('').trim()).toBe(expectedTokens(contents.length));
}

/** Any answer in a word. */
function outcomeOf(answer: ChatTranscript | Heard): string {
  if ('contents' in answer) {
    const text = answer.contents.join('').trim();
    const [error] = answer.errors;
    if (text !== expectedTokens(answer.contents.length) || answer.broken) return 'garbled';
    if (error && answer.errors.length === 1 && !answer.done) return `error frame ${error.code}`;
    return answer.done && answer.contents.length === SHORT_TOKENS ? 'whole' : 'short';
  }
  if (answer.status >= 400) return `${answer.status} ${answer.code}`;
  return answer.broken ? 'cut' : 'whole';
}

/** How what does not end in time ends, by whose process stops. */
const cutBy = {
  'llm-worker': 'error frame server_shutting_down',
  'tts-worker': 'cut',
  'stt-worker': '503 server_shutting_down',
};

it('a gateway: short answers end, long ones by one error, nobody new comes in', async () => {
  const long = Array.from({ length: 5 }, () => chat('long'));
  const sound = speak('long');
  await until(() => callsWith('long') === 6);
  const { data } = (await (await fetch(`${stack.baseUrl}/streams`)).json()) as {
    data: { id: string; kind: string }[];
  };
  const short = Array.from({ length: 5 }, () => chat('short'));
  const shortSound = speak('short');
  await until(() => callsWith('short') === 6);
  const stopped = stopInTime(processOf('gateway'));
  await until(async () => (await fetch(`${stack.rootUrl}/health/ready`)).status === 503);
  const refused = await post('/v1/chat/completions', {
    messages: [{ role: 'user', content: 'x' }],
  });
  expect(refused.status).toBe(503);
  expect(refused.headers.get('retry-after')).toBe('1');
  expect(refused.headers.get('connection')).toBe('close');
  expect(await refused.json()).toMatchObject({ error: { code: 'server_shutting_down' } });
  // What runs can still be stopped.
  const first = data.find(({ kind }) => kind === 'chat')?.id ?? '';
  expect((await post(`/v1/streams/${first}/cancel`, {})).status).toBe(200);
  for (const answer of short) expectWhole(await answer);
  const heard = await shortSound;
  expect(heard).toMatchObject({ status: 200, broken: false });
  expect(heard.bytes).toBeGreaterThanOrEqual(48_000);
  const codes = (await Promise.all(long)).map(({ errors }) => errors[0]?.code);
  const told = (code: string) => codes.filter((one) => one === code).length;
  expect([told('stream_cancelled'), told('server_shutting_down')]).toStrictEqual([1, 4]);
  for (const answer of await Promise.all(long)) expectCut(answer, answer.errors[0]?.code ?? '');
  expect(await sound).toMatchObject({ status: 200, broken: true });
  await stopped;
  // Nothing goes on behind a client that was told that it is over.
  await until(() => upstream.activeRequests() === 0);
}, 60_000);

it('a gateway: a request whose body is still on its way is answered', async () => {
  const { port } = new URL(stack.rootUrl);
  const body = JSON.stringify({
    model: 'scripted',
    messages: [{ role: 'user', content: 'short' }],
  });
  const idle = connect(Number(port), '127.0.0.1');
  idle.write('GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n');
  await once(idle, 'data');
  const socket = connect(Number(port), '127.0.0.1');
  const head = `POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n`;
  socket.write(head + body.slice(0, 20));
  const received: Buffer[] = [];
  socket.on('data', (part: Buffer) => received.push(part));
  await until(() => received.length > 0); // 100 Continue
  const closed = once(socket, 'close');
  const stopped = stopInTime(processOf('gateway'));
  await until(async () => (await fetch(`${stack.rootUrl}/health/ready`)).status === 503);
  socket.write(body.slice(20));
  await Promise.all([stopped, closed]);
  expect(Buffer.concat(received).toString()).toContain(expectedTokens(SHORT_TOKENS));
  idle.destroy();
}, 60_000);

it('a gateway whose player plays: what ends in time is heard, the rest is cut', async () => {
  const ask = (text: string) =>
    post('/api/openai', { messages: [{ role: 'user', content: text }] });
  const tokens = (word: string) => [`Say ${word}. `];
  for (const word of ['short', 'long'])
    upstream.script({
      path: '/chat/completions',
      when: ({ body }) => JSON.stringify(body).includes(word),
      tokens: tokens(word),
    });
  const answers = await Promise.all(['short', 'long'].map((word) => ask(word)));
  expect(await Promise.all(answers.map((answer) => answer.text()))).toStrictEqual([
    'Say short. ',
    'Say long. ',
  ]);
  await until(() => callsWith('Say short') + callsWith('Say long') === 2);
  await stopInTime(processOf('gateway'));
  const [short, long] = answers.map(({ headers }) => headers.get('x-stream-id') ?? '');
  const folder = join(stack.dataDirectory, 'played');
  const names = (await readdir(folder)).toSorted();
  expect(names).toStrictEqual([`${short}.wav`, `${long}.wav`].toSorted());
  const [heard = 0, cut = 0] = await Promise.all(
    [short, long].map(async (id) => (await stat(join(folder, `${id}.wav`))).size),
  );
  expect(heard).toBeGreaterThanOrEqual(48_000); // all of its second
  expect(cut).toBeLessThan(20 * 48_000); // of ten minutes
  await until(() => upstream.activeRequests() === 0);
}, 60_000);

it.each(['llm-worker', 'tts-worker', 'stt-worker'] as const)(
  'a %s: short jobs end, long ones by one error, the next ones are another’s',
  async (name) => {
    const begin: (word: string) => Promise<ChatTranscript | Heard> =
      name === 'llm-worker' ? chat : name === 'tts-worker' ? speak : transcribe;
    const long = Array.from({ length: 3 }, () => begin('long'));
    await until(() => callsWith('long') === 3);
    const short = Array.from({ length: 2 }, () => begin('short'));
    await until(() => callsWith('short') === 2);
    const old = processOf(name);
    const next = stack.start(name);
    await until(() => next.output().includes('"ready"'), { timeoutMs: 10_000 });
    const stopped = stopInTime(old);
    const later = Array.from({ length: 3 }, () => begin('short'));
    for (const answer of await Promise.all([...short, ...later]))
      expect(outcomeOf(answer)).toBe('whole');
    for (const answer of await Promise.all(long)) expect(outcomeOf(answer)).toBe(cutBy[name]);
    await stopped;
    expect(next.output()).not.toContain('stalled');
    await until(() => upstream.activeRequests() === 0);
  },
  60_000,
);

it('every process, in the middle of its work, while Redis is away', async () => {
  const answers = [chat('long'), speak('long'), transcribe('long')];
  await until(() => callsWith('long') === 3);
  await stack.redis.kill();
  await Promise.all(APPS.map((name) => stopInTime(processOf(name))));
  const outcomes = (await Promise.all(answers)).map((answer) => outcomeOf(answer));
  expect(outcomes).not.toContain('whole');
  expect(outcomes[0]).toMatch(/^error frame /);
  await until(() => upstream.activeRequests() === 0);
}, 60_000);

it('every process, with nothing to do, at once', async () => {
  const startedMs = performance.now();
  const codes = await Promise.all(stack.processes.map((started) => started.stop('SIGTERM')));
  expect(codes).toStrictEqual([0, 0, 0, 0]);
  expect(performance.now() - startedMs).toBeLessThan(1000 * PATIENCE);
}, 60_000);
