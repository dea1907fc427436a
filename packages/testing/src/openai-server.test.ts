import { connect } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { type OpenAIServer, type OpenAIServerOptions, startOpenAIServer } from './openai-server.ts';
import { spokenPcm } from './openai-server/speech.ts';
import { until } from './until.ts';

const servers: OpenAIServer[] = [];
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()));
});

async function start(options?: OpenAIServerOptions): Promise<OpenAIServer> {
  const server = await startOpenAIServer(options);
  servers.push(server);
  return server;
}

function post(server: OpenAIServer, path: string, body: object, signal?: AbortSignal) {
  return fetch(server.baseUrl + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
    ...(signal === undefined ? {} : { signal }),
  });
}

const CHAT = { model: 'm', messages: [{ role: 'user', content: 'Hi' }] };

test('streams tokens, finish reasons for every choice, usage when asked, and [DONE]', async () => {
  const server = await start({ tokens: ['a', 'b'] });
  const body = { ...CHAT, stream: true, n: 2, stream_options: { include_usage: true } };
  const response = await post(server, '/chat/completions', body);
  const frames = (await response.text()).split('\n\n').filter(Boolean);
  expect(frames.at(-1)).toBe('data: [DONE]');
  const chunks = frames.slice(0, -1).map((frame) => JSON.parse(frame.slice(6)));
  const text = (index: number) =>
    chunks.map(({ choices }) => choices[0]).filter((choice) => choice?.index === index);
  expect(
    text(1)
      .map(({ delta }) => delta.content ?? '')
      .join(''),
  ).toBe('ab');
  expect(text(0).at(-1).finish_reason).toBe('stop');
  expect(chunks.at(-1).usage.completion_tokens).toBe(2);
  expect(server.requests[0]).toMatchObject({ path: '/chat/completions', tokensWritten: 4 });
  expect(server.requests[0]?.rawBody.toString()).toBe(JSON.stringify(body));
});

test('scripts are laid over each other and run out', async () => {
  const server = await start({ tokens: ['fine'] });
  const fault = { type: 'status', status: 500, body: { error: { message: 'no' } } } as const;
  server.script({ fault, times: 2, path: '/chat/completions' });
  const statuses = [];
  for (let call = 0; call < 3; call += 1) {
    const response = await post(server, '/chat/completions', CHAT);
    statuses.push(response.status);
    await response.text();
  }
  expect(statuses).toEqual([500, 500, 200]);
  expect((await fetch(`${server.baseUrl}/models`)).status).toBe(200);
});

test('a flood waits for a slow reader and tells what it wrote', async () => {
  const server = await start({ answerBytes: 64 * 1024 * 1024 });
  const socket = connect(server.port, '127.0.0.1');
  const body = JSON.stringify({ ...CHAT, stream: true });
  socket.write(
    `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
  );
  socket.pause();
  let before = -1;
  const request = await until(
    () => {
      const [request] = server.requests;
      const full = request !== undefined && request.bytesWritten > 0;
      if (full && request.bytesWritten === before) return request;
      before = request?.bytesWritten ?? -1;
      return undefined;
    },
    { intervalMs: 100 },
  );
  expect(request.bytesWritten).toBeLessThan(16 * 1024 * 1024);
  expect(server.activeRequests()).toBe(1);
  socket.destroy();
  await until(() => server.activeRequests() === 0 && server.openSockets() === 0);
  expect(request.abortedAtMs).toBeGreaterThan(request.startedAtMs);
});

test.each(['rst', 'fin'] as const)('cuts the body after k tokens by %s', async (by) => {
  const server = await start({ fault: { type: 'cut', by, afterTokens: 3 } });
  await expect(
    post(server, '/chat/completions', { ...CHAT, stream: true }).then((r) => r.text()),
  ).rejects.toThrow(/terminated|fetch failed/);
  expect(server.requests[0]?.tokensWritten).toBe(3);
});

test.each([
  ['no-headers', { type: 'no-headers' }],
  ['silence', { type: 'silence', afterTokens: 2 }],
] as const)('%s lasts until the client leaves', async (_name, fault) => {
  const server = await start({ fault });
  const leave = new AbortController();
  const answer = post(server, '/chat/completions', { ...CHAT, stream: true }, leave.signal)
    .then((response) => response.text())
    .catch((thrown: unknown) => thrown);
  await until(() => server.requests[0]?.tokensWritten === (fault.type === 'silence' ? 2 : 0));
  leave.abort();
  expect(await answer).toBeInstanceOf(Error);
  await until(() => server.activeRequests() === 0);
});

test('speaks each text with a tone of its own', async () => {
  const server = await start();
  const say = async (input: string) => {
    const body = { model: 'm', voice: 'alloy', input, response_format: 'pcm' };
    return Buffer.from(await (await post(server, '/audio/speech', body)).arrayBuffer());
  };
  expect((await say('One phrase.')).equals(spokenPcm('One phrase.'))).toBe(true);
  expect((await say('A phrase!!!')).equals(spokenPcm('One phrase.'))).toBe(false);
});

test('transcribes in every format', async () => {
  const server = await start();
  const ask = async (format: string) => {
    const form = new FormData();
    form.append('file', new File([new Uint8Array(10)], 'a.wav'));
    form.append('model', 'whisper-1');
    form.append('response_format', format);
    form.append('timestamp_granularities[]', 'word');
    const response = await fetch(`${server.baseUrl}/audio/transcriptions`, {
      method: 'POST',
      body: form,
    });
    return response.text();
  };
  const verbose = JSON.parse(await ask('verbose_json'));
  expect(verbose.words).toHaveLength(5);
  expect(verbose.segments).toBeUndefined();
  expect(await ask('srt')).toBe(
    '1\n00:00:00,000 --> 00:00:02,000\nHello from the scripted server.\n\n',
  );
  expect(await ask('vtt')).toMatch(/^WEBVTT\n\n00:00:00\.000/);
  expect(JSON.parse(await ask('json')).text).toBe('Hello from the scripted server.');
  expect(server.requests[0]?.files['file']?.[0]?.bytes).toHaveLength(10);
});

test('asks for its key', async () => {
  const server = await start({ apiKey: 'secret-key' });
  expect((await fetch(`${server.baseUrl}/models`)).status).toBe(401);
  const headers = { authorization: 'Bearer secret-key' };
  expect((await fetch(`${server.baseUrl}/models`, { headers })).status).toBe(200);
});

test('speaks phrases with their code between, where audio was asked for', async () => {
  const phrases = [{ transcript: 'Look:', content: '```\nx\n```' }, { transcript: ' Done.' }];
  const server = await start({ phrases, headers: { 'x-stream-id': 's1' } });
  const audio = { modalities: ['text', 'audio'], audio: { voice: 'alloy', format: 'pcm16' } };
  const response = await post(server, '/chat/completions', { ...CHAT, ...audio, stream: true });
  expect(response.headers.get('x-stream-id')).toBe('s1');
  const frames = (await response.text()).split('\n\n').filter((frame) => frame.includes('{'));
  const deltas = frames.map((frame) => JSON.parse(frame.slice(6)).choices[0].delta);
  const spoken = deltas.flatMap(({ audio }) => (audio === undefined ? [] : [audio]));
  const pcm = spoken.map(({ data }) => Buffer.from(data ?? '', 'base64'));
  const expected = phrases.map(({ transcript }) => spokenPcm(transcript));
  expect(Buffer.concat(pcm).equals(Buffer.concat(expected))).toBe(true);
  expect(spoken.map(({ transcript }) => transcript ?? '').join('')).toBe('Look: Done.');
  expect(deltas.map(({ content }) => content ?? '').join('')).toBe('```\nx\n```');
  expect(spoken.filter(({ id }) => id !== undefined)).toHaveLength(1);
  expect(spoken.at(-1)).toHaveProperty('expires_at');
});
