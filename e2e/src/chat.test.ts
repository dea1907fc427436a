import { type OpenAIServer, startOpenAIServer } from '@antiphon/testing/openai-server';
import { until } from '@antiphon/testing/until';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { expectedTokens, readChatStream } from './chat-stream.ts';
import { type Stack, startStack } from './stack.ts';

let upstream: OpenAIServer;
let stack: Stack;

beforeAll(async () => {
  upstream = await startOpenAIServer({ tokens: 40, tokenDelayMs: 5 });
  stack = await startStack({
    apps: ['gateway', 'llm-worker', 'llm-worker'],
    environment: {
      AI_SERVICE: 'openai',
      OPENAI_BASE_URL: upstream.baseUrl,
      LLM_OPENAI_MODELS: 'scripted',
    },
    models: ['scripted'],
  });
}, 60_000);
afterEach(() => upstream.resetScripts());
afterAll(async () => {
  await stack?.close();
  await upstream?.close();
});

it('completes 200 concurrent streams with every token in order', async () => {
  upstream.script({ tokens: 50, tokenDelayMs: 20 });
  const answers = await Promise.all(
    Array.from({ length: 200 }, () => readChatStream(stack.baseUrl)),
  );
  for (const answer of answers) {
    expect(answer.contents.join('').trim()).toBe(expectedTokens(50));
    expect(answer).toMatchObject({ done: true, errors: [], finishReasons: ['stop'] });
  }
}, 60_000);

it('stops the upstream when the client leaves', async () => {
  upstream.script({ tokens: 10_000, tokenDelayMs: 10 });
  const leave = new AbortController();
  const answer = await readChatStream(stack.baseUrl, {
    signal: leave.signal,
    onContent: (_content, { contents }) => {
      if (contents.length === 5) leave.abort();
    },
  });
  const leftAtMs = performance.now();
  expect(answer.broken).toBe(true);
  await until(() => upstream.activeRequests() === 0, { timeoutMs: 1000, intervalMs: 5 });
  expect(performance.now() - leftAtMs).toBeLessThan(
    1000 * Number(process.env['TEST_PATIENCE'] ?? 3),
  );
  expect(upstream.requests.at(-1)?.tokensWritten).toBeLessThan(200);
});

it('stops the upstream when the client leaves before the first token', async () => {
  upstream.script({ fault: { type: 'no-headers' } });
  const leave = new AbortController();
  const before = upstream.requests.length;
  const answer = readChatStream(stack.baseUrl, { signal: leave.signal });
  await until(() => upstream.requests.length > before);
  leave.abort();
  await until(() => upstream.activeRequests() === 0, { timeoutMs: 1000 });
  expect((await answer).broken).toBe(true);
});
