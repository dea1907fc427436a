import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { collect, describeTTSContract } from '@antiphon/testing/contracts/tts-service-contract';
import { type OpenAIServer, startOpenAIServer } from '@antiphon/testing/openai-server';
import { spokenPcm } from '@antiphon/testing/openai-server/speech';
import { until } from '@antiphon/testing/until';
import type { PcmChunk, SpeechRequest, TTSService } from '@antiphon/shared/services/tts-service';
import { openai } from './openai.ts';

const context = { concurrency: 4, warn: (message: string): never => expect.fail(message) };
const never = new AbortController().signal;
const request: SpeechRequest = { text: 'Hello there.', voice: 'alloy', model: 'tts-1', speed: 1 };
const services: TTSService[] = [];
let server: OpenAIServer;

beforeAll(async () => {
  server = await startOpenAIServer({ models: ['tts-1', 'whisper-1'], tokenDelayMs: 1 });
});
afterEach(async () => {
  server.resetScripts();
  await Promise.all(services.splice(0).map((service) => service.close()));
});
afterAll(() => server.close());

async function create(environment: NodeJS.ProcessEnv = {}): Promise<TTSService> {
  const service = await openai.createFrom(
    { TTS_OPENAI_BASE_URL: server.baseUrl, ...environment },
    context,
  );
  services.push(service);
  return service;
}

async function speak(
  changes: Partial<SpeechRequest> = {},
  environment: NodeJS.ProcessEnv = {},
): Promise<{ pcm: Buffer; chunks: PcmChunk[] }> {
  const service = await create(environment);
  return collect(service.synthesize({ ...request, ...changes }, never));
}

describeTTSContract('openai', {
  create: () => openai.createFrom({ TTS_OPENAI_BASE_URL: server.baseUrl }, context),
  streams: true,
});

describe('openai speech', () => {
  test('asks for PCM and hands on what comes, to the byte', async () => {
    const { pcm, chunks } = await speak({ speed: 1.5, instructions: 'Whisper.' });
    expect(pcm.equals(spokenPcm(request.text, { speed: 1.5 }))).toBe(true);
    expect(chunks[0]?.sampleRateHz).toBe(24_000);
    expect(server.requestsTo('/audio/speech').at(-1)?.body).toEqual({
      model: 'tts-1',
      input: 'Hello there.',
      voice: 'alloy',
      response_format: 'pcm',
      speed: 1.5,
      instructions: 'Whisper.',
    });
  });

  test('puts samples together that the socket cut in two', async () => {
    server.script({ pieceBytes: 777 });
    const { pcm, chunks } = await speak();
    expect(pcm.equals(spokenPcm(request.text))).toBe(true);
    expect(chunks.every((chunk) => chunk.pcm.byteLength % 2 === 0)).toBe(true);
  });

  test('takes the header off when the server sends WAV instead, also in tiny pieces', async () => {
    server.script({ speechFormat: 'wav', pieceBytes: 5, audioSeconds: 0.1 });
    const { pcm, chunks } = await speak({}, { TTS_OPENAI_SAMPLE_RATE_HZ: '16000' });
    expect(pcm.equals(spokenPcm(request.text, { seconds: 0.1 }))).toBe(true);
    expect(chunks[0]?.sampleRateHz).toBe(24_000);
  });

  test.each([
    ['16000', undefined, 16_000],
    ['', undefined, 24_000],
    ['16000', 'audio/L16; rate=44100; channels=1', 44_100],
    ['16000', 'audio/mpeg', 16_000],
  ])('by %j and Content-Type %j the rate is %d Hz', async (variable, contentType, rateHz) => {
    server.script(contentType === undefined ? {} : { speechContentType: contentType });
    const { chunks } = await speak({}, { TTS_OPENAI_SAMPLE_RATE_HZ: variable });
    expect(chunks[0]?.sampleRateHz).toBe(rateHz);
  });

  test.each([
    [{ type: 'status', status: 401, body: 'no' }, 'upstream_auth'],
    [{ type: 'status', status: 403, body: 'no' }, 'upstream_auth'],
    [{ type: 'status', status: 404, body: 'no' }, 'upstream_rejected'],
    [{ type: 'html' }, 'upstream_protocol'],
    [{ type: 'garbage' }, 'upstream_protocol'],
    [{ type: 'early-end' }, 'upstream_protocol'],
    [{ type: 'cut', by: 'rst', afterTokens: 2 }, 'upstream_protocol'],
    [{ type: 'cut', by: 'fin', afterTokens: 2 }, 'upstream_protocol'],
    [{ type: 'status', status: 200, body: 'OggS....' }, 'upstream_protocol'],
  ] as const)('%j is %s', async (fault, code) => {
    server.script({ fault, path: '/audio/speech' });
    await expect(speak()).rejects.toMatchObject({ code });
  });

  test('containers are refused by their first bytes, MP3 only if it is also called so', async () => {
    const fault = { type: 'status', status: 200 } as const;
    const headers = { 'content-type': 'application/octet-stream' };
    server.script({ fault: { ...fault, body: 'OggS....', headers } });
    await expect(speak()).rejects.toThrow('sent Ogg where PCM');
    server.script({ fault: { ...fault, body: 'ID3\u0004....', headers } });
    await expect(speak()).rejects.toThrow('sent MP3 where PCM');
  });

  test('tells what the upstream had against the request, without the key', async () => {
    const body = { error: { message: "Bad voice 'x' for key sk-secret123456", param: 'voice' } };
    server.script({ fault: { type: 'status', status: 400, body } });
    const spoken = speak({}, { OPENAI_API_KEY: 'sk-secret123456' });
    await expect(spoken).rejects.toMatchObject({
      code: 'upstream_rejected',
      message: "Bad voice 'x' for key ***",
      param: 'voice',
    });
  });

  test('tries again while nothing has come, and then passes on what came', async () => {
    const before = server.requestsTo('/audio/speech').length;
    const headers = { 'retry-after-ms': '10' };
    server.script({ fault: { type: 'status', status: 503, headers }, times: 2 });
    expect((await speak()).pcm.equals(spokenPcm(request.text))).toBe(true);
    expect(server.requestsTo('/audio/speech').length - before).toBe(3);
  });

  test('after the last try 429 says when to come back', async () => {
    const headers = { 'retry-after': '30' };
    server.script({ fault: { type: 'status', status: 429, headers } });
    await expect(speak()).rejects.toMatchObject({
      code: 'rate_limit_exceeded',
      retryAfterSeconds: 30,
    });
  });

  test('silence before and in the middle of the audio is upstream_timeout', async () => {
    const idle = { UPSTREAM_IDLE_TIMEOUT_MS: '150' };
    server.script({ fault: { type: 'silence', afterTokens: 1 } });
    await expect(speak({}, idle)).rejects.toMatchObject({ code: 'upstream_timeout' });
    server.script({ fault: { type: 'no-headers' } });
    await expect(speak({}, idle)).rejects.toMatchObject({ code: 'upstream_timeout' });
  });

  test('a port where nobody listens is upstream_unavailable', async () => {
    const closed = createServer().listen(0, '127.0.0.1');
    await until(() => closed.listening);
    const { port } = closed.address() as AddressInfo;
    closed.close();
    const environment = { TTS_OPENAI_BASE_URL: `http://127.0.0.1:${port}/v1` };
    await expect(speak({}, environment)).rejects.toMatchObject({ code: 'upstream_unavailable' });
  });

  test('an abort closes the socket in the middle of the audio', async () => {
    server.script({ fault: { type: 'silence', afterTokens: 1 } });
    const service = await create();
    const stop = new AbortController();
    const chunks = service.synthesize(request, stop.signal)[Symbol.asyncIterator]();
    await chunks.next();
    const recorded = server.requestsTo('/audio/speech').at(-1);
    expect(recorded?.closedAtMs).toBeUndefined();
    stop.abort(new Error('enough'));
    await expect(chunks.next()).rejects.toThrow('enough');
    await until(() => recorded?.closedAtMs !== undefined);
  });
});

test('another server or rate is another sound', async () => {
  const environments = [
    {},
    { TTS_OPENAI_BASE_URL: 'http://127.0.0.1:9/v1' },
    { TTS_OPENAI_SAMPLE_RATE_HZ: '16000' },
  ];
  const made = await Promise.all(environments.map(create));
  expect(new Set(made.map(({ fingerprint }) => fingerprint)).size).toBe(3);
});

describe('openai catalog', () => {
  const announce = async (environment: NodeJS.ProcessEnv = {}) =>
    (await create(environment)).listVoices(never);

  test('asks the server for models and voices, and leaves out models that do not speak', async () => {
    expect(await announce()).toEqual({
      models: ['tts-1'],
      voices: [
        { id: 'alloy', name: 'alloy' },
        { id: 'echo', name: 'echo' },
      ],
    });
  });

  test.each([
    [{ voices: ['af_heart', 'af_heart'] }, [{ id: 'af_heart', name: 'af_heart' }]],
    [
      { voices: [{ id: 'a', name: 'Ann', language: 'en' }] },
      [{ id: 'a', name: 'Ann', language: 'en' }],
    ],
    [{ data: [{ voice_id: 'b' }] }, [{ id: 'b', name: 'b' }]],
    [['c'], [{ id: 'c', name: 'c' }]],
    [{ voices: [] }, 'any'],
    [{ something: 'else' }, 'any'],
  ])('reads %j', async (body, voices) => {
    server.script({ path: '/audio/voices', fault: { type: 'status', status: 200, body } });
    expect((await announce()).voices).toEqual(voices);
  });

  test('a server without a list of voices takes any', async () => {
    server.script({ path: '/audio/voices', fault: { type: 'status', status: 404 } });
    expect((await announce()).voices).toBe('any');
  });

  test('lists from the environment are announced without asking', async () => {
    const before = server.requests.length;
    const environment = { TTS_OPENAI_MODELS: 'kokoro, other', TTS_OPENAI_VOICES: 'af_sky' };
    expect(await announce(environment)).toEqual({
      models: ['kokoro', 'other'],
      voices: [{ id: 'af_sky', name: 'af_sky' }],
    });
    expect(server.requests.length).toBe(before);
  });

  test('a server without a list of models is told of by the variable that helps', async () => {
    server.script({ path: '/models', fault: { type: 'status', status: 404 } });
    await expect(announce()).rejects.toThrow('TTS_OPENAI_MODELS');
  });

  test('the key is needed for api.openai.com only', async () => {
    await expect(openai.createFrom({}, context)).rejects.toThrow('OPENAI_API_KEY');
    const service = await openai.createFrom({ OPENAI_API_KEY: 'k' }, context);
    await service.close();
  });
});
