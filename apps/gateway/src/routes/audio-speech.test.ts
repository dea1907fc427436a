import { type ExpectedError, expectError } from '@antiphon/testing/error-envelope';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { type ScriptedWorker, startScriptedWorker } from '@antiphon/testing/scripted-worker';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { answerChat, speakSilence } from '../testing/scripted-handlers.ts';
import { type TestGateway, openTestGateway } from '../testing/test-gateway.ts';

/** What `speakSilence` says per phrase, at 24 kHz s16le. */
const PHRASE_BYTES = 24_000;

let redis: RedisServer;
let tts: ScriptedWorker<'speech'>;
let free: ScriptedWorker<'speech'>;
let llm: ScriptedWorker<'chat'>;
let gateway: TestGateway;
beforeAll(async () => {
  redis = await startRedis();
  const redisUrl = redis.url;
  tts = await startScriptedWorker({
    redisUrl,
    kind: 'speech',
    engine: 'flite',
    announced: {
      models: ['tts-1', 'flite'],
      voices: [
        { id: 'slt', name: 'Slt', language: 'en-US' },
        { id: 'alloy', name: 'Alloy' },
      ],
      parallelPhrases: 2,
      maxPhraseCharacters: 300,
    },
    handler: speakSilence,
  });
  free = await startScriptedWorker({
    redisUrl,
    kind: 'speech',
    engine: 'remote',
    announced: { models: ['remote'], voices: 'any' },
    handler: speakSilence,
  });
  llm = await startScriptedWorker({
    redisUrl,
    kind: 'chat',
    announced: { models: ['a-chat-model'] },
    handler: answerChat(''),
  });
  gateway = await openTestGateway(redis.url, { MODEL_ALIASES: 'kokoro=tts-1' });
});
afterAll(async () => {
  await gateway.close();
  for (const worker of [tts, free, llm]) await worker.close();
  await redis.close();
});

const speech = { model: 'tts-1', voice: 'alloy', input: 'Hello there.' };
const post = (body: object, url = gateway.url) =>
  fetch(`${url}/v1/audio/speech`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/octet-stream' },
    body: JSON.stringify(body),
  });

describe('a request that is refused', () => {
  const voices = "Supported values are: 'slt', 'alloy'.";
  it.each<[string, object, ExpectedError]>([
    [
      'no input',
      { ...speech, input: undefined },
      {
        status: 400,
        code: 'missing_required_parameter',
        param: 'input',
        message: "Missing required parameter: 'input'.",
      },
    ],
    [
      'input null',
      { ...speech, input: null },
      {
        status: 400,
        code: 'invalid_type',
        param: 'input',
        message: "Invalid type for 'input': expected a string, but got null instead.",
      },
    ],
    [
      'input empty',
      { ...speech, input: '' },
      { status: 400, code: 'invalid_value', param: 'input' },
    ],
    [
      'blanks',
      { ...speech, input: ' \n\t ' },
      { status: 400, code: 'invalid_value', param: 'input' },
    ],
    [
      'nothing but marks',
      { ...speech, input: '... ?! — …' },
      {
        status: 400,
        code: 'invalid_value',
        param: 'input',
        message: "Invalid 'input': it has no letter or digit that could be spoken.",
      },
    ],
    [
      'input too long',
      { ...speech, input: 'x'.repeat(4097) },
      {
        status: 400,
        code: null,
        param: 'input',
        message:
          "[{'type': 'string_too_long', 'loc': ('body', 'input'), 'msg': 'String should have at most 4096 characters', 'ctx': {'max_length': 4096}}]",
      },
    ],
    [
      'an unknown voice',
      { ...speech, voice: 'nobody' },
      {
        status: 400,
        code: 'invalid_value',
        param: 'voice',
        message: `Invalid value: 'nobody'. ${voices}`,
      },
    ],
    [
      'an unknown voice as an object',
      { ...speech, voice: { id: 'voice_7' } },
      {
        status: 400,
        code: 'invalid_value',
        param: 'voice',
        message: `Invalid value: 'voice_7'. ${voices}`,
      },
    ],
    [
      'a voice without an id',
      { ...speech, voice: {} },
      { status: 400, code: 'missing_required_parameter', param: 'voice.id' },
    ],
    [
      'a voice that is a number',
      { ...speech, voice: 1 },
      {
        status: 400,
        code: 'invalid_type',
        param: 'voice',
        message:
          "Invalid type for 'voice': expected one of a string or object, but got an integer instead.",
      },
    ],
    [
      'too slow',
      { ...speech, speed: 0.2 },
      {
        status: 400,
        code: 'decimal_below_min_value',
        param: 'speed',
        message:
          "Invalid 'speed': decimal below minimum value. Expected a value >= 0.25, but got 0.2 instead.",
      },
    ],
    [
      'too fast',
      { ...speech, speed: 1e308 },
      { status: 400, code: 'decimal_above_max_value', param: 'speed' },
    ],
    [
      'speed a text',
      { ...speech, speed: '1' },
      { status: 400, code: 'invalid_type', param: 'speed' },
    ],
    [
      'an unknown format',
      { ...speech, response_format: 'ogg' },
      {
        status: 400,
        code: 'invalid_value',
        param: 'response_format',
        message:
          "Invalid value: 'ogg'. Supported values are: 'mp3', 'opus', 'aac', 'flac', 'wav', 'pcm'.",
      },
    ],
    [
      'an unknown stream_format',
      { ...speech, stream_format: 'websocket' },
      {
        status: 400,
        code: 'invalid_value',
        param: 'stream_format',
        message: "Invalid value: 'websocket'. Supported values are: 'audio', 'sse'.",
      },
    ],
    [
      'instructions too long',
      { ...speech, instructions: 'x'.repeat(4097) },
      { status: 400, code: 'invalid_value', param: 'instructions', message: /maximum length 4096/ },
    ],
    [
      'a chat model',
      { ...speech, model: 'a-chat-model' },
      { status: 404, code: 'model_not_found', param: 'model', message: /`a-chat-model`.*tts-1/ },
    ],
  ])('%s', async (_what, body, expected) => {
    const before = await gateway.queuedKeys();
    await expectError(await post(body), expected);
    expect(await gateway.queuedKeys()).toStrictEqual(before);
  });

  it('a speech model on chat', async () => {
    const response = await fetch(`${gateway.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ model: 'tts-1', messages: [{ role: 'user', content: 'hi' }] }),
    });
    await expectError(response, { status: 404, code: 'model_not_found', param: 'model' });
  });

  it('a body larger than any input', async () => {
    await expectError(await post({ ...speech, input: 'x'.repeat(1_100_000) }), {
      status: 413,
      code: null,
      message: /^Maximum content size limit \(1048576\)/,
    });
  });
});

describe('a request that is taken', () => {
  it('counts letters, not bytes or halves of emoji', async () => {
    const input = '😀'.repeat(4095) + 'a';
    expect((await post({ ...speech, input, response_format: 'pcm' })).status).toBe(200);
  });

  it('MAX_INPUT_CHARACTERS moves the limit', async () => {
    const long = await openTestGateway(redis.url, { MAX_INPUT_CHARACTERS: '5' });
    try {
      expect((await post({ ...speech, input: 'Hello' }, long.url)).status).toBe(200);
      await expectError(await post({ ...speech, input: 'Hello.' }, long.url), {
        status: 400,
        code: null,
        param: 'input',
        message: /at most 5 characters/,
      });
    } finally {
      await long.close();
    }
  });

  it.each<[string, object, object]>([
    ['everything left out', { input: 'Hi.' }, { model: 'tts-1', voice: 'slt', speed: 1 }],
    [
      'nulls',
      {
        ...speech,
        voice: null,
        speed: null,
        model: null,
        instructions: null,
        response_format: null,
        stream_format: null,
      },
      { voice: 'slt' },
    ],
    ['empty names', { ...speech, model: '', voice: '' }, { model: 'tts-1', voice: 'slt' }],
    ['a voice as an object', { ...speech, voice: { id: 'slt' } }, { voice: 'slt' }],
    ['the ends of speed', { ...speech, speed: 4 }, { speed: 4 }],
    ['an alias', { ...speech, model: 'kokoro' }, { model: 'tts-1' }],
    [
      'fields of other servers',
      { ...speech, backend: 'x', stream: true, language: 'en' },
      { language: 'en' },
    ],
    ['instructions', { ...speech, instructions: 'whisper' }, { instructions: 'whisper' }],
  ])('%s', async (_what, body, job) => {
    const response = await post(body);
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toBe('audio/mpeg');
    await response.arrayBuffer();
    expect(tts.jobs.at(-1)).toMatchObject(job);
  });

  it('an engine that cannot list its voices is asked for any', async () => {
    const response = await post({ ...speech, model: 'remote', voice: 'af_heart' });
    expect(response.status).toBe(200);
    expect(free.jobs.at(-1)?.voice).toBe('af_heart');
    await response.arrayBuffer();
  });

  it.each([
    ['mp3', 'audio/mpeg'],
    ['opus', 'audio/ogg'],
    ['aac', 'audio/aac'],
    ['flac', 'audio/flac'],
    ['wav', 'audio/wav'],
    ['pcm', 'audio/pcm'],
  ])('%s is %s', async (response_format, contentType) => {
    const response = await post({ ...speech, response_format });
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toBe(contentType);
    expect(response.headers.get('x-stream-id')).toBe(tts.jobs.at(-1)?.streamId);
    expect(response.headers.get('x-request-id')).toMatch(/^req_/);
    expect((await response.arrayBuffer()).byteLength).toBeGreaterThan(0);
  });

  it('every phrase is in the answer, in order', async () => {
    const count = tts.jobs.length;
    const input = 'This is the first sentence of a few. '.repeat(12);
    const response = await post({ ...speech, input, response_format: 'pcm' });
    const bytes = await response.arrayBuffer();
    const phrases = tts.jobs.slice(count).sort((one, other) => one.phraseIndex - other.phraseIndex);
    expect(phrases.length).toBeGreaterThan(2);
    expect(bytes.byteLength).toBe(phrases.length * PHRASE_BYTES);
    const said = phrases.map(({ text }) => text).join(' ');
    expect(said.replaceAll(/\s+/g, ' ').trim()).toBe(input.trim());
  });

  it('stream_format sse: fragments that join, then the usage', async () => {
    const response = await post({ ...speech, stream_format: 'sse', response_format: 'pcm' });
    expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
    const frames = (await response.text()).split('\n\n').filter((frame) => frame !== '');
    const events = frames.map(
      (frame) => JSON.parse(frame.replace(/^data: /, '')) as { type: string; audio?: string },
    );
    const audio = events.flatMap((event) => (event.audio === undefined ? [] : [event.audio]));
    expect(Buffer.from(audio.join(''), 'base64').length).toBe(PHRASE_BYTES);
    expect(events.at(-1)).toStrictEqual({
      type: 'speech.audio.done',
      usage: { input_tokens: 12, output_tokens: 0, total_tokens: 12 },
    });
    expect(events.slice(0, -1).every(({ type }) => type === 'speech.audio.delta')).toBe(true);
  });
});
