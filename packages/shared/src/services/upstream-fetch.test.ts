import { startOpenAIServer, type OpenAIServer } from '@antiphon/testing/openai-server';
import { until } from '@antiphon/testing/until';
import { Agent } from 'undici';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createUpstreamFetch, upstreamBody } from './upstream-fetch.ts';

let server: OpenAIServer;
let agent: Agent;
beforeEach(async () => {
  server = await startOpenAIServer();
  agent = new Agent();
});
afterEach(async () => {
  await agent.destroy();
  await server.close();
});

it('gives status and headers at once, and the body as a stream', async () => {
  const response = await createUpstreamFetch(agent)(new URL(`${server.baseUrl}/models`));
  expect(response.status).toBe(200);
  expect(response.headers.get('content-type')).toMatch(/json/);
  const body = upstreamBody(response);
  expect(JSON.parse(String(await body?.toArray()))).toMatchObject({ object: 'list' });
});

it('sends method, headers and body as given', async () => {
  server.script({ fault: { type: 'status', status: 418, headers: { 'x-teapot': 'yes' } } });
  const response = await createUpstreamFetch(agent)(`${server.baseUrl}/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: 'Bearer x' },
    body: '{"stream":true}',
  });
  expect(response.ok).toBe(false);
  expect(response.headers.get('x-teapot')).toBe('yes');
  expect(server.requests[0]).toMatchObject({ method: 'POST', body: { stream: true } });
  expect(server.requests[0]?.headers.authorization).toBe('Bearer x');
  upstreamBody(response)?.destroy();
});

it('closes the socket when the body is destroyed', async () => {
  server.script({ tokens: 1000, tokenDelayMs: 10 });
  const response = await createUpstreamFetch(agent)(`${server.baseUrl}/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{"model":"m","stream":true,"messages":[{"role":"user","content":"go"}]}',
  });
  expect(response.status).toBe(200);
  upstreamBody(response)?.destroy();
  await until(() => server.openSockets() === 0);
});
