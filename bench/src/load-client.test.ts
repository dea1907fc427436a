import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { LoadPlan, LoadReply, LoadResult } from './load-plan.ts';
import { FINISH_FRAMES, tokenFrame } from './token-script.ts';

let upstream: ChildProcess;
let client: ChildProcess;
let upstreamPort: number;

beforeAll(async () => {
  upstream = fork(new URL('./upstream.ts', import.meta.url));
  client = fork(new URL('./load-client.ts', import.meta.url), { serialization: 'advanced' });
  const [message] = (await once(upstream, 'message')) as [{ port: number }];
  upstreamPort = message.port;
});

afterAll(async () => {
  const gone = [upstream, client].map((child) => once(child, 'exit'));
  upstream.disconnect();
  client.disconnect();
  await Promise.all(gone);
});

async function load(port: number, plan: LoadPlan): Promise<LoadReply> {
  client.send({ target: { port, headers: {} }, plan });
  const [reply] = (await once(client, 'message')) as [LoadReply];
  return reply;
}

async function loadUpstream(plan: LoadPlan): Promise<LoadResult> {
  const reply = await load(upstreamPort, plan);
  if ('failure' in reply) throw new Error(reply.failure);
  return reply.result;
}

test('a sequence: the first token is immediate, the others keep the pace', async () => {
  const script = { tokens: 5, tokensPerSecond: 50 };
  const result = await loadUpstream({ kind: 'sequential', requests: 3, script });
  expect(result).toMatchObject({ streams: 3, tokens: 15 });
  expect(result.firstTokenMs).toHaveLength(3);
  expect(result.tokenLatencyMs).toHaveLength(15);
  // Three streams of four pauses of 20 ms; the first pause of each may be a slot shorter.
  expect(result.elapsedMs).toBeGreaterThan(3 * 78);
  // One clock for both processes: nothing arrives before it was sent.
  expect(Math.min(...result.tokenLatencyMs)).toBeGreaterThan(0);
});

test('a steady load counts only what starts after the warm-up', async () => {
  const script = { tokens: 10, tokensPerSecond: 100 };
  const plan = { kind: 'steady', streams: 10, warmUpMs: 200, measureMs: 300, script } as const;
  const result = await loadUpstream(plan);
  expect(result.streams).toBeGreaterThan(9);
  expect(result.streams).toBeLessThan(50);
  expect(result.tokens).toBe(result.streams * 10);
  expect(result.allTokens).toBeGreaterThan(result.tokens);
});

test('a flood brings every token', async () => {
  const script = { tokens: 5000, tokensPerSecond: 0 };
  const result = await loadUpstream({ kind: 'burst', streams: 3, requests: 2, script });
  expect(result).toMatchObject({ streams: 6, tokens: 30_000, allTokens: 30_000 });
});

test.each([
  ['a lost token', 200, tokenFrame(0, 1) + tokenFrame(2, 1) + FINISH_FRAMES, 'in place of 1'],
  ['an early end', 200, tokenFrame(0, 1) + FINISH_FRAMES, '1 tokens of 2'],
  ['an error', 503, '{"error":{"message":"overloaded"}}', 'HTTP 503: {"error"'],
])('%s is a failure', async (_, status, body, failure) => {
  const server = createServer((request, response) => {
    request.resume();
    response.writeHead(status).end(body);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const script = { tokens: 2, tokensPerSecond: 50 };
  const reply = await load(port, { kind: 'sequential', requests: 1, script });
  server.closeAllConnections();
  server.close();
  await once(server, 'close');
  expect(reply).toEqual({ failure: expect.stringContaining(failure) as string });
});

test('a socket that closes mid-stream is a failure', async () => {
  const server = createServer((request, response) => {
    request.resume();
    response.writeHead(200).write(tokenFrame(0, 1), () => response.destroy());
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const script = { tokens: 2, tokensPerSecond: 50 };
  const reply = await load(port, { kind: 'sequential', requests: 1, script });
  server.close();
  expect(reply).toHaveProperty('failure');
});
