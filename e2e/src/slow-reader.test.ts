import { connect, type Socket } from 'node:net';
import { type OpenAIServer, startOpenAIServer } from '@antiphon/testing/openai-server';
import { until } from '@antiphon/testing/until';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { residentBytes, type Stack, startStack } from './stack.ts';

const ANSWER_BYTES = 64 * 1024 * 1024;
const MAX_LOG_BYTES = 16 * 1024 * 1024;

let upstream: OpenAIServer;
let stack: Stack;
let redis: Redis;
let socket: Socket;

beforeAll(async () => {
  upstream = await startOpenAIServer({ answerBytes: ANSWER_BYTES });
  stack = await startStack({
    apps: ['gateway', 'llm-worker'],
    environment: {
      AI_SERVICE: 'openai',
      OPENAI_BASE_URL: upstream.baseUrl,
      LLM_OPENAI_MODELS: 'scripted',
    },
    models: ['scripted'],
  });
  redis = new Redis(stack.redis.url);
}, 60_000);
afterAll(async () => {
  socket?.destroy();
  redis?.disconnect();
  await stack?.close();
  await upstream?.close();
});

/** A client that sends a request and takes nothing of the answer. */
function askAndNotRead(): void {
  const body = JSON.stringify({
    model: 'scripted',
    stream: true,
    messages: [{ role: 'user', content: 'go' }],
  });
  socket = connect(Number(new URL(stack.rootUrl).port), '127.0.0.1');
  socket.pause();
  socket.write(
    `POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
  );
}

/** Bytes that were appended, those of them that were not delivered, and the memory of the log. */
async function logBytes(): Promise<{ produced: number; unread: number; kept: number }> {
  const [state] = await redis.keys('antiphon:{*}:state');
  const [log] = await redis.keys('antiphon:{*}:log');
  if (state === undefined || log === undefined) return { produced: 0, unread: 0, kept: 0 };
  const [bytes, read] = await redis.hmget(state, 'bytes', 'read');
  return {
    produced: Number(bytes),
    unread: Number(bytes) - Number(read),
    kept: Number(await redis.memory('USAGE', log)),
  };
}

it('costs the gateway no memory, and Redis no more than MAX_LOG_BYTES', async () => {
  const gateway = stack.processes[0];
  const before = await residentBytes(gateway?.pid ?? 0);
  askAndNotRead();
  let produced = -1;
  let steady = 0;
  await until(
    async () => {
      const bytes = await logBytes();
      steady = bytes.produced > 1_000_000 && bytes.produced === produced ? steady + 1 : 0;
      produced = bytes.produced;
      return steady >= 10;
    },
    { timeoutMs: 20_000, intervalMs: 100, what: 'production to stand still' },
  );
  const grown = (await residentBytes(gateway?.pid ?? 0)) - before;
  const { kept, unread } = await logBytes();
  expect(grown).toBeLessThan(20 * 1024 * 1024);
  expect(unread).toBeLessThanOrEqual(MAX_LOG_BYTES);
  // Redis' allocator rounds a node of 64 KiB up to one of 80.
  expect(kept).toBeLessThan(MAX_LOG_BYTES * 1.4);
  expect(produced).toBeLessThan(ANSWER_BYTES / 2);
  expect(upstream.requests.at(-1)?.tokensWritten).toBeLessThan((ANSWER_BYTES / 16_384) * 0.9);

  let received = 0;
  socket.on('data', (part: Buffer) => {
    received += part.length;
  });
  socket.resume();
  await until(() => received > ANSWER_BYTES, { timeoutMs: 30_000, intervalMs: 50 });
  expect((await residentBytes(gateway?.pid ?? 0)) - before).toBeLessThan(120 * 1024 * 1024);
}, 120_000);
