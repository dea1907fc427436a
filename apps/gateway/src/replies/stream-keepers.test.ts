import type { JobContext } from '@antiphon/shared/queue/job-worker';
import { openRedis, whenReady } from '@antiphon/shared/queue/redis';
import type { ScriptedRedis } from '@antiphon/shared/streams/stream-scripts';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { type ScriptedWorker, startScriptedWorker } from '@antiphon/testing/scripted-worker';
import { until } from '@antiphon/testing/until';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { readEvents } from '../testing/read-events.ts';
import { answerChat, chatFrame, hearOneSegment } from '../testing/scripted-handlers.ts';
import { type TestGateway, openTestGateway } from '../testing/test-gateway.ts';

const LARGE_BYTES = 300_000;

let server: RedisServer;
let redis: ScriptedRedis;
let stays: TestGateway;
let goes: TestGateway;
let llm: ScriptedWorker<'chat'>;
let stt: ScriptedWorker<'transcription'>;
let write: (context: JobContext<'chat'>) => Promise<void>;
let goOn: PromiseWithResolvers<void>;

beforeAll(async () => {
  server = await startRedis();
  redis = openRedis(server.url, { role: 'patient', onError: () => undefined });
  await whenReady(redis);
  const redisUrl = server.url;
  llm = await startScriptedWorker({
    ...{ redisUrl, kind: 'chat', announced: { models: ['scripted'] } },
    handler: (context) => write(context),
  });
  stt = await startScriptedWorker({
    ...{ redisUrl, kind: 'transcription', announced: { models: ['whisper-1'] } },
    handler: async (context) => {
      await goOn.promise;
      await hearOneSegment(context);
    },
  });
  stays = await openTestGateway(redisUrl);
});
beforeEach(async () => {
  goOn = Promise.withResolvers();
  goes = await openTestGateway(server.url);
  write = async (context) => {
    await context.producer.append({ type: 'text-delta', bytes: chatFrame('First ') });
    await goOn.promise;
    await answerChat('then more.')(context);
  };
});
afterEach(async () => {
  await goes.close();
  await until(() => stays.context.watch.streams.size === 0, { what: 'no stream under watch' });
  await until(async () => (await redis.exists('antiphon:kept')) === 0, { what: 'nothing kept' });
});
afterAll(async () => {
  await stays?.close();
  await Promise.all([llm, stt].map((worker) => worker?.close()));
  redis?.disconnect();
  await server?.close();
});

const chat = (gateway: TestGateway, content = 'go') =>
  fetch(`${gateway.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      ...{ stream: true, background: true },
      messages: [{ role: 'user', content }],
    }),
  });
const transcribe = (gateway: TestGateway) => {
  const form = new FormData();
  form.set('file', new Blob([Buffer.concat([Buffer.from('RIFF0000WAVE'), Buffer.alloc(5000)])]));
  return fetch(`${gateway.url}/v1/audio/transcriptions`, {
    method: 'POST',
    headers: { 'idempotency-key': 'upload' },
    body: form,
  });
};
const statusOf = (streamId: string) => redis.hget(`antiphon:{${streamId}}:state`, 'status');

it('waits for a client whose stream takes long to open: the grace begins behind that', async () => {
  const graceMs = 50;
  const hasty = await openTestGateway(server.url, { RESUME_GRACE_MS: String(graceMs) });
  const { jobs } = hasty.context;
  const enqueue = jobs.enqueue.bind(jobs);
  jobs.enqueue = async (...given) => {
    const begunAtMs = performance.now();
    await until(() => performance.now() - begunAtMs > graceMs * 6);
    return enqueue(...given);
  };
  try {
    goOn.resolve();
    const answer = await fetch(`${hasty.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-stream-resume': '1' },
      body: JSON.stringify({ messages: [{ role: 'user', content: 'go' }] }),
    });
    expect(answer.status).toBe(200);
    await answer.text();
  } finally {
    await hasty.close();
  }
});

describe('a gateway that hands its streams over', () => {
  it.each([
    ['the body of a chat', async () => readEvents(await chat(goes, 'x'.repeat(LARGE_BYTES)), 1)],
    [
      'an upload',
      async () => {
        transcribe(goes).catch(() => undefined); // its connection breaks
        await until(() => goes.context.keepers.size === 1);
      },
    ],
  ])('leaves %s to the job that still reads it', async (_name, begin) => {
    await begin();
    expect(await goes.blobNames()).toHaveLength(1);
    await goes.context.keepers.close();
    await until(() => stays.context.keepers.size === 1, { what: 'adopted' });
    expect(await goes.blobNames()).toHaveLength(1);
    goOn.resolve();
    await until(() => stays.context.keepers.size === 0);
  });

  it('deletes what the jobs of an ended one read', async () => {
    const begun = await chat(goes, 'x'.repeat(LARGE_BYTES));
    goOn.resolve();
    await readEvents(begun);
    await until(async () => (await goes.blobNames()).length === 0);
    expect(await statusOf(begun.headers.get('x-stream-id') ?? '')).toBe('done');
  });
});
