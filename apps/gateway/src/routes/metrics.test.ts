import { wavHeader } from '@antiphon/shared/audio/wav';
import { expectError } from '@antiphon/testing/error-envelope';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { type ScriptedWorker, startScriptedWorker } from '@antiphon/testing/scripted-worker';
import { PATIENCE, until } from '@antiphon/testing/until';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hearOneSegment, speakPhrases, speakSilence } from '../testing/scripted-handlers.ts';
import { type TestGateway, openTestGateway } from '../testing/test-gateway.ts';

const ADMIN_KEY = 'admin-key-0123456789';
const KEY = 'sk-tenant-0123456789abcdef';
/** May be in no label: models, tenants and paths are the clients'. */
const CANARY = /canary|sk-tenant|key-[0-9a-f]{16}/;

let redis: RedisServer;
let gateway: TestGateway;
let open: TestGateway;
const workers: ScriptedWorker<'chat' | 'speech' | 'transcription'>[] = [];
beforeAll(async () => {
  redis = await startRedis();
  const redisUrl = redis.url;
  workers.push(
    (await startScriptedWorker({
      ...{ redisUrl, kind: 'chat' as const, announced: { models: ['canary-model'] } },
      handler: speakPhrases(['One.', 'Two.']),
    })) as never,
    (await startScriptedWorker({
      ...{ redisUrl, kind: 'speech' as const, handler: speakSilence },
      announced: { models: ['tts-1'], voices: 'any', parallelPhrases: 2 },
    })) as never,
    (await startScriptedWorker({
      ...{ redisUrl, kind: 'transcription' as const, handler: hearOneSegment },
      announced: { models: ['whisper-1'] },
    })) as never,
  );
  gateway = await openTestGateway(redis.url, { API_KEYS: KEY, ADMIN_KEY });
  open = await openTestGateway(redis.url);
});
afterAll(async () => {
  for (const opened of [gateway, open]) await opened.close();
  for (const worker of workers) await worker.close();
  await redis.close();
});

const ask = (path: string, headers: Record<string, string>, url = gateway.url) =>
  fetch(`${url}${path}`, { headers });
const metrics = async () => {
  const response = await ask('/metrics', { 'x-api-key': ADMIN_KEY });
  expect(response.status).toBe(200);
  expect(response.headers.get('content-type')).toMatch(/^text\/plain; version=0\.0\.4/);
  return response.text();
};
const post = async (path: string, body: object) => {
  const response = await fetch(`${gateway.url}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${KEY}` },
    body: JSON.stringify(body),
  });
  await response.arrayBuffer();
  return response.status;
};

describe('who may see them', () => {
  it.each<[string, Record<string, string>]>([
    ['nobody without a key', {}],
    ["no tenant's key", { authorization: `Bearer ${KEY}` }],
  ])('%s', async (_who, headers) => {
    const response = await ask('/metrics', headers);
    expect(response.headers.get('www-authenticate')).toMatch(/^Basic /);
    await expectError(response, { status: 401, code: 'invalid_api_key' });
  });

  it('not the admin key on the API', async () => {
    const response = await ask('/v1/models', { authorization: `Bearer ${ADMIN_KEY}` });
    await expectError(response, { status: 401, code: 'invalid_api_key' });
  });

  it('while there is no admin key, clients on this machine, and nobody through a proxy', async () => {
    expect((await ask('/metrics', {}, open.url)).status).toBe(200);
    const proxied = await ask('/metrics', { 'x-forwarded-for': '203.0.113.9' }, open.url);
    await expectError(proxied, {
      ...{ status: 404, code: null, message: 'Invalid URL (GET /metrics)' },
    });
  });
});

it('count requests by route, streams by outcome, phrases and seconds, and name no tenant or model', async () => {
  const input = 'Hello there. And good bye.';
  expect(await post('/v1/audio/speech', { model: 'tts-1', voice: 'x', input })).toBe(200);
  const audio = { voice: 'x', format: 'pcm16' };
  const messages = [{ role: 'user', content: 'canary' }];
  const chat = { model: 'canary-model', messages, modalities: ['text', 'audio'], audio };
  expect(await post('/v1/chat/completions', { ...chat, stream: true })).toBe(200);
  const form = new FormData();
  const wav = Buffer.concat([
    wavHeader({ sampleRateHz: 16_000, dataBytes: 8000 }),
    new Uint8Array(8000),
  ]);
  form.set('file', new Blob([wav]), 'canary.wav');
  const heard = await fetch(`${gateway.url}/v1/audio/transcriptions`, {
    ...{ method: 'POST', body: form, headers: { 'x-api-key': KEY } },
  });
  expect((await heard.json()) as object).toMatchObject({ text: 'Good morning.' });
  await post('/v1/canary', {});
  await ask('/v1/models/canary', { authorization: `Bearer ${KEY}` });
  await ask('/v1/streams/canary', {});
  await until(async () => (await metrics()).includes('kind="chat",status="done"'), {
    timeoutMs: 2000 * PATIENCE,
  });
  const text = await metrics();
  for (const line of [
    'antiphon_requests_total{method="POST",route="/v1/audio/speech",status="200"} 1',
    'antiphon_requests_total{method="POST",route="/v1/chat/completions",status="200"} 1',
    'antiphon_requests_total{method="POST",route="unknown",status="404"} 1',
    'antiphon_requests_total{method="GET",route="/v1/models/:id{.+}",status="404"} 1',
    'antiphon_requests_total{method="GET",route="/v1/streams/:id",status="401"} 1',
    'antiphon_streams_total{kind="speech",status="done",code=""} 1',
    'antiphon_streams_total{kind="chat",status="done",code=""} 1',
    'antiphon_streams_total{kind="transcription",status="done",code=""} 1',
    'antiphon_audio_heard_seconds_total 1.5',
    'antiphon_streams_open 0',
    'antiphon_phrases_total{result="failed"} 0',
    'antiphon_queue_wait_seconds_count{kind="chat"} 1',
    'antiphon_first_audio_seconds_count{stage="first-audio"} 2',
  ]) {
    expect(text).toContain(line);
  }
  const phrases = Number(/antiphon_phrases_total\{result="spoken"\} (\d+)/.exec(text)?.[1]);
  expect(phrases).toBeGreaterThanOrEqual(3);
  expect(text).toContain(`antiphon_audio_made_seconds_total ${phrases / 2}`);
  expect(text).not.toMatch(CANARY);
});
