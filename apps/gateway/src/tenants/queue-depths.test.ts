import { once } from 'node:events';
import type { JobHandler } from '@antiphon/shared/queue/job-worker';
import { expectError } from '@antiphon/testing/error-envelope';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { type ScriptedWorker, startScriptedWorker } from '@antiphon/testing/scripted-worker';
import { until } from '@antiphon/testing/until';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { chatFrame } from '../testing/scripted-handlers.ts';
import { type TestGateway, openTestGateway } from '../testing/test-gateway.ts';

/** Says something, and goes on until it is stopped. */
const endless: JobHandler<'chat'> = async ({ producer, signal }) => {
  await producer.append({ type: 'text-delta', bytes: chatFrame('Well') }, { signal });
  await once(signal, 'abort');
  signal.throwIfAborted();
};

let redis: RedisServer;
let llm: ScriptedWorker<'chat'>;
let gateway: TestGateway;
let other: TestGateway;
const leaving = new AbortController();
beforeAll(async () => {
  redis = await startRedis();
  llm = await startScriptedWorker({
    ...{ redisUrl: redis.url, kind: 'chat', handler: endless, concurrency: 1 },
    announced: { models: ['<b>busy</b>'] },
  });
  const environment = { MAX_QUEUE_DEPTH: '3', STATUS_HOLD_MS: '0' };
  gateway = await openTestGateway(redis.url, environment);
  other = await openTestGateway(redis.url, environment);
});
afterEach(async () => {
  for (const { url } of [gateway, other]) await fetch(`${url}/api/stop_all`, { method: 'POST' });
});
afterAll(async () => {
  leaving.abort();
  for (const opened of [gateway, other]) await opened.close();
  await llm.close();
  await redis.close();
});

const chat = (url = gateway.url) =>
  fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ stream: true, messages: [{ role: 'user', content: 'Hello' }] }),
    signal: leaving.signal,
  });
const OVERLOADED = { status: 503, type: 'service_unavailable_error', code: 'server_is_overloaded' };

interface QueueList {
  data: { name: string; waiting: number; active: number; workers: number; concurrency: number }[];
}
const queues = async () => (await (await fetch(`${gateway.url}/queues`)).json()) as QueueList;
const stream = async (id: string | null) =>
  (await (await fetch(`${other.url}/v1/streams/${id}`)).json()) as {
    stage: string;
    queue_position?: number;
  };

it('takes no more than may wait, however many come at once, and says when to come again', async () => {
  const answers = await Promise.all(Array.from({ length: 30 }, () => chat()));
  const taken = answers.filter(({ status }) => status === 200);
  // One is being answered; whether it had been taken when the others came is chance.
  expect(taken.length).toBeGreaterThanOrEqual(3);
  expect(taken.length).toBeLessThanOrEqual(4);
  const refused = answers.find(({ status }) => status === 503);
  const seconds = Number(refused?.headers.get('retry-after'));
  expect(seconds).toBeGreaterThanOrEqual(1);
  expect(seconds).toBeLessThanOrEqual(60);
  await expectError(refused, {
    ...OVERLOADED,
    message:
      /^The server is overloaded: \d+ requests wait in the queue already, and it takes 3\. Please/,
  });
});

it('is told of by the other gateways within seconds, and takes requests when it is empty again', async () => {
  await until(async () => (await queues()).data[0]?.waiting === 0);
  await until(async () => (await chat()).status === 503);
  await until(async () => (await chat(other.url)).status === 503);
  await fetch(`${gateway.url}/api/stop_all`, { method: 'POST' });
  await until(async () => (await chat(other.url)).status === 200);
  expect((await queues()).data[0]).toMatchObject({ active: 1 });
});

it('tells each stream that waits its place, on any gateway', async () => {
  await until(async () => {
    const { data } = await queues();
    return data[0]?.waiting === 0 && data[0].active === 0;
  });
  const ids: (string | null)[] = [];
  for (let count = 0; count < 3; count += 1) ids.push((await chat()).headers.get('x-stream-id'));
  await until(async () => (await stream(ids[0] ?? null)).stage === 'writing');
  const described = await Promise.all(ids.map((id) => stream(id)));
  expect(described.map(({ queue_position: place }) => place)).toEqual([undefined, 1, 2]);
  await fetch(`${gateway.url}/v1/streams/${ids[0]}/cancel`, { method: 'POST' });
  await until(async () => (await stream(ids[2] ?? null)).queue_position === 1);
});

it('is shown to the operator, as JSON and as a page, without a prompt', async () => {
  await until(async () => {
    const { data } = await queues();
    return data[0]?.waiting === 0 && data[0].active === 0;
  });
  await chat();
  await chat();
  await until(async () => (await queues()).data[0]?.active === 1);
  expect(await queues()).toEqual({
    object: 'list',
    data: [
      {
        ...{ name: llm.queueName, stage: 'llm', waiting: 1, active: 1 },
        ...{ failed: 0, workers: 1, concurrency: 1, models: ['<b>busy</b>'] },
      },
      {
        ...{ name: `${llm.queueName}-batch`, stage: 'llm', waiting: 0, active: 0 },
        ...{ failed: 0, workers: 1, concurrency: 1, models: ['<b>busy</b>'] },
      },
    ],
  });
  const page = await fetch(`${gateway.url}/queues`, { headers: { accept: 'text/html,*/*' } });
  expect(page.headers.get('content-type')).toMatch(/^text\/html/);
  expect(page.headers.get('content-security-policy')).toContain("default-src 'none'");
  const text = await page.text();
  expect(text).toContain('&lt;b&gt;busy&lt;/b&gt;');
  expect(text).not.toContain('Hello');
});
