import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { type ScriptedWorker, startScriptedWorker } from '@antiphon/testing/scripted-worker';
import { type TcpProxy, startTcpProxy } from '@antiphon/testing/tcp-proxy';
import { PATIENCE, until } from '@antiphon/testing/until';
import { expectError } from '@antiphon/testing/error-envelope';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { answerChat, hearOneSegment, speakSilence } from '../testing/scripted-handlers.ts';
import { type TestGateway, openTestGateway } from '../testing/test-gateway.ts';

let redis: RedisServer;
/** Between gateway and Redis. */
let proxy: TcpProxy;
let gateway: TestGateway;
let workers: Pick<ScriptedWorker<'chat'>, 'close'>[];
beforeEach(async () => {
  redis = await startRedis();
  proxy = await startTcpProxy(redis.port);
  gateway = await openTestGateway(`redis://127.0.0.1:${proxy.port}`);
  workers = [];
});
afterEach(async () => {
  await gateway.close();
  for (const worker of workers) await worker.close();
  await proxy.close();
  await redis.close();
});

const get = async (path: string) => {
  const response = await fetch(`${gateway.url}/health${path}`);
  return { status: response.status, body: (await response.json()) as { stages?: object } };
};
const ask = () =>
  fetch(`${gateway.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ messages: [{ role: 'user', content: 'hi' }] }),
  });
const startAll = async () => {
  const redisUrl = redis.url;
  const llm = await startScriptedWorker({
    ...{ redisUrl, kind: 'chat', handler: answerChat('hi'), announced: { models: ['chat'] } },
  });
  const tts = await startScriptedWorker({
    ...{ redisUrl, kind: 'speech', handler: speakSilence, announced: { models: ['tts-1'] } },
  });
  workers.push(llm, tts);
  await until(async () => {
    const { body } = await get('');
    return JSON.stringify(body.stages) === '{"llm":true,"tts":true,"stt":false}';
  });
  expect((await get('/ready')).status).toBe(503);
  const stt = await startScriptedWorker({
    ...{ redisUrl, kind: 'transcription', handler: hearOneSegment, announced: { models: ['w'] } },
  });
  workers.push(stt);
  await until(async () => (await get('/ready')).status === 200);
  return { llm, tts, stt };
};

it('is alive, and not ready, without workers', async () => {
  expect(await get('/live')).toStrictEqual({ status: 200, body: { status: 'ok' } });
  const lacking = {
    redis: true,
    stages: { llm: false, tts: false, stt: false },
    accepting: true,
  };
  expect(await get('/ready')).toStrictEqual({
    status: 503,
    body: { status: 'unavailable', ...lacking },
  });
  expect(await get('')).toStrictEqual({ status: 200, body: { status: 'degraded', ...lacking } });
});

it('is ready when all three stages are live, and no longer when one has gone', async () => {
  const { tts } = await startAll();
  expect(await get('/ready')).toStrictEqual({
    status: 200,
    body: {
      status: 'ok',
      redis: true,
      stages: { llm: true, tts: true, stt: true },
      accepting: true,
    },
  });
  await tts.close();
  await until(async () => (await get('/ready')).status === 503);
  expect((await get('/ready')).body).toMatchObject({ stages: { llm: true, tts: false } });
});

it('Redis down: not ready, alive, requests are 503 within a second; afterwards all is well', async () => {
  await startAll();
  await redis.kill();
  await until(async () => (await get('/ready')).status === 503);
  expect((await get('/ready')).body).toMatchObject({ status: 'unavailable', redis: false });
  expect((await get('/live')).status).toBe(200);
  const startedMs = performance.now();
  const refused = await ask();
  expect(performance.now() - startedMs).toBeLessThan(1000 * PATIENCE);
  expect(refused.headers.get('retry-after')).toBe('1');
  expect(refused.headers.get('x-should-retry')).toBe('true');
  await expectError(refused, {
    status: 503,
    type: 'service_unavailable_error',
    code: 'queue_unavailable',
  });
  await redis.restart();
  await until(async () => (await get('/ready')).status === 200, { timeoutMs: 10_000 });
  await until(async () => (await ask()).status === 200, { timeoutMs: 10_000 });
  // The request that was refused had begun to listen for its stream.
  await until(() => gateway.context.subscriber.readerCount === 0);
  expect(gateway.context.watch.streams.size).toBe(0);
}, 60_000);

it('Redis silent: not ready; connections that died without a word are made anew', async () => {
  await startAll();
  proxy.setMode({ type: 'blackhole' });
  await until(async () => (await get('/ready')).status === 503);
  expect((await get('/ready')).body).toMatchObject({ status: 'unavailable', redis: false });
  proxy.loseAll();
  proxy.setMode({ type: 'pass' });
  await until(async () => (await get('/ready')).status === 200);
  expect((await ask()).status).toBe(200);
}, 60_000);

it('told to stop: not ready, and new requests are 503', async () => {
  await startAll();
  gateway.stopAccepting();
  expect((await get('/ready')).body).toMatchObject({ status: 'unavailable', accepting: false });
  expect((await get('/ready')).status).toBe(503);
  expect((await get('/live')).status).toBe(200);
  const response = await fetch(`${gateway.url}/v1/models`);
  expect(response.headers.get('retry-after')).toBe('1');
  await expectError(response, {
    status: 503,
    type: 'service_unavailable_error',
    code: 'server_shutting_down',
  });
});
