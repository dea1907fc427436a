import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { type OpenAIServer, startOpenAIServer } from '@antiphon/testing/openai-server';
import { PATIENCE, until } from '@antiphon/testing/until';
import { createOpenAIUpstream, type OpenAIUpstream } from './openai-upstream.ts';
import { readBody, readWholeBody } from './upstream-body.ts';

const closers: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

async function serve(options?: Parameters<typeof startOpenAIServer>[0]): Promise<OpenAIServer> {
  const server = await startOpenAIServer(options);
  closers.push(() => server.close());
  return server;
}

function upstreamOf(
  baseUrl: string,
  options: Partial<Parameters<typeof createOpenAIUpstream>[0]> = {},
): OpenAIUpstream {
  const upstream = createOpenAIUpstream({
    baseUrl,
    connectTimeoutMs: 2000,
    idleTimeoutMs: 10_000,
    backoffMs: 20,
    ...options,
  });
  closers.push(() => upstream.close());
  return upstream;
}

const BODY =
  '{ "model":"m", "messages":[{"role":"user","content":"Hi"}], "seed":12345678901234567890 }';
const STREAM_BODY = BODY.replace('"seed"', '"stream":true, "seed"');
const never = new AbortController().signal;
const chat = (upstream: OpenAIUpstream, body = BODY, signal = never): Promise<Response> =>
  upstream.request('/chat/completions', {
    body,
    headers: { 'content-type': 'application/json' },
    signal,
  });

test('sends the very body and the key, and gives the raw answer', async () => {
  const server = await serve({ apiKey: 'k-1' });
  const response = await chat(upstreamOf(server.baseUrl, { apiKey: 'k-1' }));
  const options = { signal: never, idleTimeoutMs: 1000, maxBytes: 1e6 };
  expect(JSON.parse(String(await readWholeBody(response, options)))).toMatchObject({
    object: 'chat.completion',
  });
  expect(server.requests[0]?.rawBody.toString()).toBe(BODY);
  expect(server.requests[0]?.headers['accept-encoding']).toBe('identity');
});

test('sends no Authorization without a key, whatever the environment holds', async () => {
  const server = await serve();
  process.env['OPENAI_API_KEY'] = 'from-environment';
  try {
    await upstreamOf(server.baseUrl).listModels(never);
  } finally {
    delete process.env['OPENAI_API_KEY'];
  }
  expect(server.requests[0]?.headers.authorization).toBeUndefined();
});

test('sends a form with its length, the same one at each attempt', async () => {
  const server = await serve();
  server.script({ fault: { type: 'status', status: 500 }, times: 1 });
  const body = new FormData();
  body.append('model', 'whisper-1');
  body.append('file', new File([new Uint8Array(70_000)], 'a.wav'));
  const upstream = upstreamOf(server.baseUrl);
  const response = await upstream.request('/audio/transcriptions', { body, signal: never });
  const options = { signal: never, idleTimeoutMs: 1000, maxBytes: 1000 };
  expect(JSON.parse(String(await readWholeBody(response, options)))).toMatchObject({
    text: 'Hello from the scripted server.',
  });
  expect(server.requests).toHaveLength(2);
  expect(server.requests[1]?.rawBody.equals(server.requests[0]?.rawBody ?? Buffer.of())).toBe(true);
  expect(Number(server.requests[1]?.headers['content-length'])).toBeGreaterThan(70_000);
});

test('500, 500, 200 succeeds with the third call', async () => {
  const server = await serve();
  server.script({ fault: { type: 'status', status: 500 }, times: 2 });
  const response = await chat(upstreamOf(server.baseUrl));
  expect(response.status).toBe(200);
  await response.body?.cancel();
  expect(server.requests).toHaveLength(3);
});

test('gives up after three calls', async () => {
  const server = await serve({ fault: { type: 'status', status: 503 } });
  await expect(chat(upstreamOf(server.baseUrl))).rejects.toMatchObject({
    code: 'upstream_unavailable',
  });
  expect(server.requests).toHaveLength(3);
});

test('a Retry-After that is too long is handed on at once', async () => {
  const headers = { 'retry-after': '600' };
  const server = await serve({ fault: { type: 'status', status: 429, headers } });
  await expect(chat(upstreamOf(server.baseUrl))).rejects.toMatchObject({
    code: 'rate_limit_exceeded',
    retryAfterSeconds: 60,
  });
  expect(server.requests).toHaveLength(1);
});

test('a wrong key is one call and tells nothing', async () => {
  const server = await serve({ apiKey: 'right' });
  const error = await chat(upstreamOf(server.baseUrl, { apiKey: 'canary-key-77' })).catch(
    (thrown: Error) => thrown,
  );
  expect(error).toMatchObject({ code: 'upstream_auth' });
  expect((error as Error).message).not.toContain('canary');
  expect(server.requests).toHaveLength(1);
});

test('a refusal carries the words of the upstream', async () => {
  const body = {
    error: { message: "Unknown model 'm'.", param: 'model', code: 'model_not_found' },
  };
  const server = await serve({ fault: { type: 'status', status: 404, body } });
  await expect(chat(upstreamOf(server.baseUrl))).rejects.toMatchObject({
    code: 'upstream_rejected',
    message: "Unknown model 'm'. (model_not_found)",
    param: 'model',
  });
});

test('stops in the middle of a pause', async () => {
  const headers = { 'retry-after': '7' };
  const server = await serve({ fault: { type: 'status', status: 429, headers } });
  const stop = new AbortController();
  const reason = new Error('stopped');
  const call = chat(upstreamOf(server.baseUrl), BODY, stop.signal).catch((thrown) => thrown);
  await until(() => server.requests[0]?.closedAtMs);
  const beganMs = performance.now();
  stop.abort(reason);
  expect(await call).toBe(reason);
  expect(performance.now() - beganMs).toBeLessThan(500 * PATIENCE);
  expect(server.requests).toHaveLength(1);
});

test('a refused connection is tried again and then told', async () => {
  const server = await startOpenAIServer();
  await server.close();
  await expect(chat(upstreamOf(server.baseUrl))).rejects.toMatchObject({
    code: 'upstream_unavailable',
  });
});

test('a server that does not accept the connection is upstream_timeout', async () => {
  const { port, close } = await fullListener();
  closers.push(close);
  const upstream = upstreamOf(`http://127.0.0.1:${port}/v1`, { connectTimeoutMs: 300 });
  await expect(chat(upstream)).rejects.toMatchObject({ code: 'upstream_timeout' });
});

test('no headers in time is upstream_timeout, once, and the socket is closed', async () => {
  const server = await serve({ fault: { type: 'no-headers' } });
  const upstream = upstreamOf(server.baseUrl, { idleTimeoutMs: 200 });
  await expect(chat(upstream)).rejects.toMatchObject({ code: 'upstream_timeout' });
  expect(server.requests).toHaveLength(1);
  await until(() => server.activeRequests() === 0);
});

test('no limit for headers where the caller sets none', async () => {
  const server = await serve({ headerDelayMs: 300 });
  const upstream = upstreamOf(server.baseUrl, { idleTimeoutMs: 50 });
  const request = { body: BODY, headers: { 'content-type': 'application/json' }, signal: never };
  const whole = { ...request, headersTimeoutMs: 0 };
  expect((await upstream.request('/chat/completions', whole)).status).toBe(200);
});

test('abort before the headers throws the reason and closes the socket', async () => {
  const server = await serve({ fault: { type: 'no-headers' } });
  const stop = new AbortController();
  const call = chat(upstreamOf(server.baseUrl), BODY, stop.signal).catch((thrown) => thrown);
  await until(() => server.requests.length === 1);
  stop.abort('left');
  expect(await call).toBe('left');
  await until(() => server.openSockets() === 0);
});

test('an aborted call is never made', async () => {
  const server = await serve();
  const call = chat(upstreamOf(server.baseUrl), BODY, AbortSignal.abort('early'));
  await expect(call).rejects.toBe('early');
  expect(server.requests).toHaveLength(0);
});

async function drain(response: Response, signal = never, idleTimeoutMs = 10_000): Promise<number> {
  let byteCount = 0;
  for await (const bytes of readBody(response, { signal, idleTimeoutMs })) {
    byteCount += bytes.byteLength;
  }
  return byteCount;
}

test('silence in a body is upstream_timeout, and the socket is closed', async () => {
  const server = await serve({ fault: { type: 'silence', afterTokens: 2 } });
  const response = await chat(upstreamOf(server.baseUrl), STREAM_BODY);
  await expect(drain(response, never, 200)).rejects.toMatchObject({ code: 'upstream_timeout' });
  await until(() => server.openSockets() === 0);
});

test('a slow consumer is not silence', async () => {
  const server = await serve({ tokens: 3, tokenDelayMs: 20 });
  const response = await chat(upstreamOf(server.baseUrl), STREAM_BODY);
  for await (const _bytes of readBody(response, { signal: never, idleTimeoutMs: 100 })) {
    const fromMs = performance.now();
    await until(() => performance.now() - fromMs > 250);
  }
  expect(server.requests[0]?.abortedAtMs).toBeUndefined();
});

test.each(['rst', 'fin'] as const)('a body cut by %s is upstream_protocol', async (by) => {
  const server = await serve({ fault: { type: 'cut', by, afterTokens: 2 } });
  const response = await chat(upstreamOf(server.baseUrl), STREAM_BODY);
  await expect(drain(response)).rejects.toMatchObject({ code: 'upstream_protocol' });
});

test('abort in a body throws the reason and closes the socket', async () => {
  const server = await serve({ fault: { type: 'silence', afterTokens: 2 } });
  const response = await chat(upstreamOf(server.baseUrl), STREAM_BODY);
  const stop = new AbortController();
  const drained = drain(response, stop.signal).catch((thrown) => thrown);
  await until(() => server.requests[0]?.tokensWritten === 2);
  stop.abort('left');
  expect(await drained).toBe('left');
  await until(() => server.openSockets() === 0);
});

test('leaving the loop closes the socket', async () => {
  const server = await serve({ answerBytes: 64 * 1024 * 1024 });
  const response = await chat(upstreamOf(server.baseUrl), STREAM_BODY);
  for await (const _bytes of readBody(response, { signal: never, idleTimeoutMs: 1000 })) break;
  await until(() => server.openSockets() === 0);
  expect(server.requests[0]?.bytesWritten).toBeLessThan(32 * 1024 * 1024);
});

test('connections are used again', async () => {
  const server = await serve();
  const upstream = upstreamOf(server.baseUrl);
  for (let call = 0; call < 8; call += 1) await drain(await chat(upstream, STREAM_BODY));
  // Two, since the next call may begin before the socket of the last one is free.
  expect(server.openSockets()).toBeLessThanOrEqual(2);
  await upstream.close();
  await until(() => server.openSockets() === 0);
});

test('an endless error page is cut off', async () => {
  const body = 'x'.repeat(10 * 1024 * 1024);
  const server = await serve({ fault: { type: 'status', status: 400, body } });
  await expect(chat(upstreamOf(server.baseUrl))).rejects.toMatchObject({
    code: 'upstream_rejected',
  });
});

test('lists models, and says when it gets no list', async () => {
  const server = await serve({ models: ['a', 'b/c'] });
  const upstream = upstreamOf(server.baseUrl);
  expect(await upstream.listModels(never)).toEqual(['a', 'b/c']);
  server.script({ fault: { type: 'html' } });
  await expect(upstream.listModels(never)).rejects.toMatchObject({ code: 'upstream_protocol' });
});

/** A process that listens and is stopped, with its queue of connections full. */
async function fullListener(): Promise<{ port: number; close: () => Promise<void> }> {
  const program = `const server = require('node:net').createServer();
    server.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => console.log(server.address().port));`;
  const child = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  const port = Number(line.toString());
  child.kill('SIGSTOP');
  const sockets = Array.from({ length: 4 }, () => connect(port, '127.0.0.1'));
  for (const socket of sockets) socket.on('error', () => undefined);
  await until(() => sockets.filter(({ connecting }) => !connecting).length >= 2);
  return {
    port,
    close: async () => {
      for (const socket of sockets) socket.destroy();
      const exited = once(child, 'exit');
      child.kill('SIGKILL');
      await exited;
    },
  };
}
