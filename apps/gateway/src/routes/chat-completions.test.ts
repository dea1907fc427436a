import { type ExpectedError, expectError } from '@antiphon/testing/error-envelope';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { type ScriptedWorker, startScriptedWorker } from '@antiphon/testing/scripted-worker';
import { PATIENCE, until } from '@antiphon/testing/until';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { answerChat, speakPhrases, speakSilence } from '../testing/scripted-handlers.ts';
import { type TestGateway, openTestGateway } from '../testing/test-gateway.ts';

/** What `speakSilence` says per phrase, at 24 kHz s16le. */
const SILENCE_BYTES = 24_000;

let redis: RedisServer;
let worker: ScriptedWorker<'chat'>;
let tts: ScriptedWorker<'speech'>;
let gateway: TestGateway;
beforeAll(async () => {
  redis = await startRedis();
  worker = await startScriptedWorker({
    redisUrl: redis.url,
    kind: 'chat',
    announced: { models: ['first', 'second'] },
    handler: answerChat('Hello there.'),
  });
  tts = await startScriptedWorker({
    redisUrl: redis.url,
    kind: 'speech',
    engine: 'flite',
    announced: {
      models: ['tts-1'],
      voices: [
        { id: 'slt', name: 'Slt' },
        { id: 'alloy', name: 'Alloy' },
      ],
      maxPhraseCharacters: 300,
    },
    handler: speakSilence,
  });
  gateway = await openTestGateway(redis.url, { MODEL_ALIASES: 'gpt-4o=second' });
});
afterAll(async () => {
  await gateway.close();
  await worker.close();
  await tts.close();
  await redis.close();
});

const user = { role: 'user', content: 'hi' };
const post = (body: object, url = gateway.url) =>
  fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
const messages = (...given: unknown[]) => ({ messages: given });
const chat = (extra: object) => ({ messages: [user], ...extra });
const spoken = (audio: object, extra: object = {}) =>
  chat({ modalities: ['text', 'audio'], audio, ...extra });

const fault = (code: string, param: string | null, message?: string | RegExp): ExpectedError => ({
  status: 400,
  code,
  param,
  ...(message === undefined ? {} : { message }),
});
const missing = (param: string) =>
  fault('missing_required_parameter', param, `Missing required parameter: '${param}'.`);
const type = (param: string, expected: string, given: string) =>
  fault(
    'invalid_type',
    param,
    `Invalid type for '${param}': expected ${expected}, but got ${given} instead.`,
  );
const range = (kind: string, param: string, [bound, limit, given]: [string, number, number]) =>
  fault(
    `${kind}_${bound === '<=' ? 'above_max' : 'below_min'}_value`,
    param,
    `Invalid '${param}': ${kind} ${bound === '<=' ? 'above maximum' : 'below minimum'} value. Expected a value ${bound} ${limit}, but got ${given} instead.`,
  );

describe('a request that is refused', () => {
  const roles = "'developer', 'system', 'user', 'assistant', 'tool', 'function'";
  it.each<[string, object, ExpectedError]>([
    ['no messages', {}, missing('messages')],
    ['messages null', { messages: null }, type('messages', 'an array of objects', 'null')],
    ['messages a text', { messages: 'x' }, type('messages', 'an array of objects', 'a string')],
    ['messages an object', { messages: {} }, type('messages', 'an array of objects', 'an object')],
    [
      'messages empty',
      { messages: [] },
      fault(
        'empty_array',
        'messages',
        "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.",
      ),
    ],
    ['a message that is a text', messages('hi'), type('messages[0]', 'an object', 'a string')],
    ['a message that is null', messages(user, null), type('messages[1]', 'an object', 'null')],
    ['no role', messages({ content: 'hi' }), missing('messages[0].role')],
    [
      'a role that is none',
      messages(user, { role: 'robot', content: 'hi' }),
      fault(
        'invalid_value',
        'messages[1].role',
        `Invalid value: 'robot'. Supported values are: ${roles}.`,
      ),
    ],
    [
      'content a number',
      messages({ role: 'user', content: 1 }),
      type('messages[0].content', 'one of a string or array of objects', 'an integer'),
    ],
    ['no content', messages({ role: 'user' }), missing('messages[0].content')],
    [
      'content null',
      messages({ role: 'system', content: null }),
      type('messages[0].content', 'one of a string or array of objects', 'null'),
    ],
    [
      'content without parts',
      messages({ role: 'user', content: [] }),
      fault('empty_array', 'messages[0].content'),
    ],
    [
      'a part without a type',
      messages(user, { role: 'user', content: [{ text: 'hi' }] }),
      missing('messages[1].content[0].type'),
    ],
    [
      'a part of text without text',
      messages({ role: 'user', content: [{ type: 'text' }] }),
      missing('messages[0].content[0].text'),
    ],
    [
      'a part that is a text',
      messages({ role: 'user', content: ['hi'] }),
      type('messages[0].content[0]', 'an object', 'a string'),
    ],
    ['model a number', chat({ model: 4 }), type('model', 'a string', 'an integer')],
    ['stream a text', chat({ stream: 'yes' }), type('stream', 'a boolean', 'a string')],
    ['stream a number', chat({ stream: 1 }), type('stream', 'a boolean', 'an integer')],
    [
      'temperature a text',
      chat({ temperature: '1' }),
      type('temperature', 'a decimal', 'a string'),
    ],
    ['temperature', chat({ temperature: 200 }), range('decimal', 'temperature', ['<=', 2, 200])],
    ['temperature', chat({ temperature: -0.1 }), range('decimal', 'temperature', ['>=', 0, -0.1])],
    ['top_p', chat({ top_p: 1.01 }), range('decimal', 'top_p', ['<=', 1, 1.01])],
    [
      'frequency_penalty',
      chat({ frequency_penalty: -3 }),
      range('decimal', 'frequency_penalty', ['>=', -2, -3]),
    ],
    [
      'presence_penalty',
      chat({ presence_penalty: 2.5 }),
      range('decimal', 'presence_penalty', ['<=', 2, 2.5]),
    ],
    ['n', chat({ n: 0 }), range('integer', 'n', ['>=', 1, 0])],
    ['n', chat({ n: -1 }), range('integer', 'n', ['>=', 1, -1])],
    ['n', chat({ n: 129 }), range('integer', 'n', ['<=', 128, 129])],
    ['n a part of one', chat({ n: 1.5 }), type('n', 'an integer', 'a decimal')],
    [
      'max_completion_tokens',
      chat({ max_completion_tokens: 0 }),
      range('integer', 'max_completion_tokens', ['>=', 1, 0]),
    ],
    ['max_tokens', chat({ max_tokens: 'many' }), type('max_tokens', 'an integer', 'a string')],
    [
      'top_logprobs',
      chat({ logprobs: true, top_logprobs: 21 }),
      range('integer', 'top_logprobs', ['<=', 20, 21]),
    ],
    [
      'top_logprobs alone',
      chat({ top_logprobs: 2 }),
      fault('invalid_value', 'top_logprobs', /only allowed when 'logprobs' is enabled/),
    ],
    [
      'stop a number',
      chat({ stop: 1 }),
      type('stop', 'one of a string or array of strings', 'an integer'),
    ],
    [
      'five stops',
      chat({ stop: ['a', 'b', 'c', 'd', 'e'] }),
      fault(
        'invalid_value',
        'stop',
        "Invalid 'stop': array too long. Expected an array with maximum length 4, but got an array with length 5 instead.",
      ),
    ],
    [
      'a stop that is a number',
      chat({ stop: ['a', 2] }),
      type('stop[1]', 'a string', 'an integer'),
    ],
    [
      'stream_options without stream',
      chat({ stream_options: { include_usage: true } }),
      fault(
        'invalid_value',
        'stream_options',
        "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
      ),
    ],
    [
      'stream_options with stream false',
      chat({ stream: false, stream_options: {} }),
      fault('invalid_value', 'stream_options'),
    ],
    [
      'include_usage a text',
      chat({ stream: true, stream_options: { include_usage: 'yes' } }),
      type('stream_options.include_usage', 'a boolean', 'a string'),
    ],
    [
      'response_format a text',
      chat({ response_format: 'json' }),
      type('response_format', 'an object', 'a string'),
    ],
    [
      'response_format without a type',
      chat({ response_format: {} }),
      missing('response_format.type'),
    ],
    ['tools an object', chat({ tools: {} }), type('tools', 'an array of objects', 'an object')],
    ['a tool without a type', chat({ tools: [{}] }), missing('tools[0].type')],
    [
      'a modality that is none',
      chat({ modalities: ['text', 'video'] }),
      fault(
        'invalid_value',
        'modalities[1]',
        "Invalid value: 'video'. Supported values are: 'text', 'audio'.",
      ),
    ],
    ['sound without a word on how', chat({ modalities: ['text', 'audio'] }), missing('audio')],
    ['sound alone, likewise', chat({ modalities: ['audio'], audio: null }), missing('audio')],
    ['sound without a voice', spoken({ format: 'mp3' }), missing('audio.voice')],
    ['a voice that is null', spoken({ voice: null, format: 'mp3' }), missing('audio.voice')],
    ['sound without a format', spoken({ voice: 'alloy' }), missing('audio.format')],
    [
      'a format that is none',
      spoken({ voice: 'alloy', format: 'ogg' }),
      fault(
        'invalid_value',
        'audio.format',
        "Invalid value: 'ogg'. Supported values are: 'wav', 'aac', 'mp3', 'flac', 'opus', 'pcm16'.",
      ),
    ],
    ...['wav', 'flac', 'aac'].map((format): [string, object, ExpectedError] => [
      `${format} as a stream`,
      spoken({ voice: 'alloy', format }, { stream: true }),
      fault(
        'unsupported_value',
        'audio.format',
        `Unsupported value: 'audio.format' does not support '${format}' when stream=true. Supported values are: 'pcm16', 'mp3', 'opus'.`,
      ),
    ]),
    [
      'a voice that nobody has',
      spoken({ voice: 'nobody', format: 'mp3' }),
      fault(
        'invalid_value',
        'audio.voice',
        "Invalid value: 'nobody'. Supported values are: 'slt', 'alloy'.",
      ),
    ],
    [
      'a voice of its own that nobody has',
      spoken({ voice: { id: 'voice_7' }, format: 'mp3' }),
      fault('invalid_value', 'audio.voice', /^Invalid value: 'voice_7'\. .*'slt', 'alloy'/),
    ],
    [
      'two spoken answers',
      spoken({ voice: 'alloy', format: 'mp3' }, { n: 2 }),
      fault('unsupported_value', 'n', /^Unsupported value: 'n' does not support 2 /),
    ],
    [
      'logprobs of a spoken answer',
      spoken({ voice: 'alloy', format: 'mp3' }, { logprobs: true }),
      fault('unsupported_parameter', 'logprobs', /^Unsupported parameter: 'logprobs' /),
    ],
    [
      'a speed out of range',
      spoken({ voice: 'alloy', format: 'mp3', speed: 5 }),
      range('decimal', 'audio.speed', ['<=', 4, 5]),
    ],
  ])('%s', async (_what, body, expected) => {
    const before = await gateway.queuedKeys();
    const response = await post(body);
    expect(response.headers.get('x-should-retry')).toBe('false');
    await expectError(response, expected);
    expect(await gateway.queuedKeys()).toStrictEqual(before);
  });

  it('shows no more of a long value than is of use', async () => {
    const response = await post(messages({ role: 'r'.repeat(5000), content: 'hi' }));
    const { error } = (await response.json()) as { error: { message: string } };
    expect(error.message.length).toBeLessThan(300);
  });
});

describe('a request that is taken', () => {
  it.each<[string, object]>([
    [
      'null counts as left out',
      Object.fromEntries(
        ['model', 'stream', 'stream_options', 'n', 'modalities', 'audio', 'temperature', 'top_p']
          .concat('stop', 'tools', 'response_format', 'logprobs', 'top_logprobs', 'max_tokens')
          .map((name) => [name, null]),
      ),
    ],
    ['an empty model counts as left out', { model: '' }],
    [
      'the ends of ranges',
      { temperature: 2, top_p: 0, n: 128, presence_penalty: -2, top_logprobs: 0, logprobs: true },
    ],
    ['text only', { modalities: ['text'] }],
    ['the voice of an answer without audio', { audio: { voice: 'alloy', format: 'wav' } }],
    ['what only vendors know', { reasoning: { effort: 'low' }, top_k: 40, extra_body: [1] }],
    ['what OpenAI ignores', { store: true, metadata: { a: 'b' }, user: 'u', service_tier: 'auto' }],
    ['a seed beyond 53 bits', { seed: 2 ** 60 }],
  ])('%s', async (_what, extra) => {
    expect((await post(chat(extra))).status).toBe(200);
  });

  it.each<[string, object]>([
    ['an assistant that called a tool', { role: 'assistant', content: null, tool_calls: [] }],
    ['an assistant without content', { role: 'assistant', audio: null }],
    ['a tool', { role: 'tool', tool_call_id: 'x', content: 'y' }],
    ['a developer', { role: 'developer', content: [{ type: 'text', text: 'z' }] }],
    [
      'parts that vendors mark',
      { role: 'user', content: [{ type: 'text', text: 'z', cache_control: { type: 'x' } }] },
    ],
    ['an image', { role: 'user', content: [{ type: 'image_url', image_url: { url: 'data:,' } }] }],
  ])('%s', async (_what, message) => {
    expect((await post(messages(message, user))).status).toBe(200);
  });

  it('reaches the engine byte for byte, when it names its model', async () => {
    const body =
      '{ "model":"second", "seed":9007199254740993, "messages":[{"content":"é","role":"user"}]}';
    const response = await fetch(`${gateway.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body,
    });
    expect(response.status).toBe(200);
    expect(worker.jobs.at(-1)?.requestJson).toBe(body);
  });

  it('whole: the engine’s JSON', async () => {
    const response = await post(chat({}));
    expect(response.headers.get('content-type')).toBe('application/json');
    expect(response.headers.get('x-stream-id')).toBe(worker.jobs.at(-1)?.streamId);
    expect(await response.json()).toMatchObject({
      model: 'first',
      choices: [{ message: { content: 'Hello there.' } }],
    });
  });

  it('streamed: frames, then [DONE]', async () => {
    const response = await post(chat({ stream: true }));
    expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
    expect(response.headers.get('cache-control')).toBe('no-store');
    expect(response.headers.get('x-accel-buffering')).toBe('no');
    expect(response.headers.get('x-stream-id')).toBe(worker.jobs.at(-1)?.streamId);
    const text = await response.text();
    expect(text).toMatch(/^(data: \{[^\n]*\}\n\n){2}data: \[DONE\]\n\n$/);
  });

  it('larger than a job may be', async () => {
    const content = 'x'.repeat(400_000);
    const response = await post(messages({ role: 'user', content }));
    expect(response.status).toBe(200);
    expect(worker.jobs.at(-1)?.requestJson).toBeUndefined();
    expect(worker.jobs.at(-1)?.requestBlobId).toMatch(/^[0-9a-f-]{36}$/);
  });
});

describe('the model', () => {
  it.each([
    [undefined, 'first'],
    ['first', 'first'],
    ['second', 'second'],
    ['gpt-4o', 'second'],
  ])('%s is answered by %s', async (model, resolved) => {
    const response = await post(chat({ model }));
    expect(response.status).toBe(200);
    expect(worker.jobs.at(-1)).toMatchObject({ model: resolved });
    expect(JSON.parse(worker.jobs.at(-1)?.requestJson ?? '')).toMatchObject({ model: resolved });
  });

  it('left out is DEFAULT_CHAT_MODEL', async () => {
    const other = await openTestGateway(redis.url, { DEFAULT_CHAT_MODEL: 'second' });
    try {
      expect((await post(chat({}), other.url)).status).toBe(200);
      expect(worker.jobs.at(-1)?.model).toBe('second');
    } finally {
      await other.close();
    }
  });

  it('that nobody knows is 404, with those that are known', async () => {
    const before = await gateway.queuedKeys();
    await expectError(await post(chat({ model: 'gpt-9' })), {
      status: 404,
      code: 'model_not_found',
      param: 'model',
      message:
        'The model `gpt-9` does not exist or you do not have access to it. Known here: first, second, gpt-4o.',
    });
    expect(await gateway.queuedKeys()).toStrictEqual(before);
  });

  it('whose worker has gone is 503 at once', async () => {
    const gone = await startScriptedWorker({
      redisUrl: redis.url,
      kind: 'chat',
      engine: 'gone',
      announced: { models: ['gone-model'] },
      handler: answerChat(''),
    });
    expect((await post(chat({ model: 'gone-model' }))).status).toBe(200);
    await gone.close();
    await until(
      () =>
        !gateway.context.directory
          .workersOf('llm')
          .some(({ engine, live }) => engine === 'gone' && live),
    );
    const startedMs = performance.now();
    const response = await post(chat({ model: 'gone-model' }));
    expect(performance.now() - startedMs).toBeLessThan(1000 * PATIENCE);
    expect(response.headers.get('retry-after')).toBe('2');
    expect(response.headers.get('x-should-retry')).toBe('true');
    await expectError(response, {
      status: 503,
      type: 'service_unavailable_error',
      code: 'server_is_overloaded',
      message: /gone-model/,
    });
  });

  it('without any worker, ever, is 503 as well', async () => {
    const bare = await startRedis();
    const empty = await openTestGateway(bare.url);
    try {
      await expectError(await post(chat({}), empty.url), {
        status: 503,
        type: 'service_unavailable_error',
        code: 'server_is_overloaded',
      });
      await expectError(await post(chat({ model: 'x' }), empty.url), {
        status: 404,
        code: 'model_not_found',
        param: 'model',
      });
      expect(await empty.queuedKeys()).toStrictEqual([]);
    } finally {
      await empty.close();
      await bare.close();
    }
  });
});

describe('a worker that is busy', () => {
  it.each([true, false])('503 after QUEUE_TIMEOUT_MS; stream: %s', async (stream) => {
    const busy = await startScriptedWorker({
      redisUrl: redis.url,
      kind: 'chat',
      engine: `busy-${stream}`,
      announced: { models: ['busy-model'] },
      handler: answerChat('too late'),
      takesJobs: false,
    });
    const impatient = await openTestGateway(redis.url, { QUEUE_TIMEOUT_MS: '300' });
    try {
      const startedMs = performance.now();
      const response = await post(chat({ model: 'busy-model', stream }), impatient.url);
      const tookMs = performance.now() - startedMs;
      expect(tookMs).toBeGreaterThanOrEqual(300);
      expect(tookMs).toBeLessThan(2300 * PATIENCE);
      expect(Number(response.headers.get('retry-after'))).toBeGreaterThan(0);
      expect(response.headers.get('x-stream-id')).toMatch(/^s[0-9a-f]{32}$/);
      await expectError(response, {
        status: 503,
        type: 'service_unavailable_error',
        code: 'server_is_overloaded',
      });
      // The worker comes back to a queue with the old job before a new one: only the new one runs.
      await busy.takeJobs();
      const next = await post(chat({ model: 'busy-model', user: 'next' }), impatient.url);
      expect(next.status).toBe(200);
      expect(busy.jobs.map(({ requestJson }) => requestJson)).toStrictEqual([
        expect.stringContaining('"next"'),
      ]);
    } finally {
      await impatient.close();
      await busy.close();
    }
  });
});

describe('an answer that is to be spoken', () => {
  const two = ['One.', 'Two.'];
  let speaker: ScriptedWorker<'chat'>;
  beforeAll(async () => {
    speaker = await startScriptedWorker({
      redisUrl: redis.url,
      kind: 'chat',
      engine: 'speaker',
      announced: { models: ['speaker'] },
      handler: speakPhrases(two),
    });
  });
  afterAll(() => speaker.close());
  const ask = (audio: object, extra: object = {}) =>
    post(spoken({ voice: 'alloy', format: 'wav', ...audio }, { model: 'speaker', ...extra }));

  it('is asked of the model as streamed text with usage, and of the voice as it was ordered', async () => {
    const response = await ask({ speed: 1.5, instructions: 'Whisper.' }, { temperature: 0.5 });
    expect(response.status).toBe(200);
    const job = speaker.jobs.at(-1);
    expect(job).toMatchObject({
      ...{ stream: true, choiceCount: 1, model: 'speaker' },
      audio: { content: 'code', maxPhraseCharacters: 300 },
    });
    expect(JSON.parse(job?.requestJson ?? '')).toStrictEqual({
      ...{ messages: [user], model: 'speaker', temperature: 0.5 },
      ...{ stream: true, stream_options: { include_usage: true } },
    });
    const streamId = response.headers.get('x-stream-id');
    const jobs = tts.jobs.filter((one) => one.streamId === streamId);
    expect(jobs.map(({ phraseIndex, text }) => [phraseIndex, text])).toStrictEqual([
      [0, 'One.'],
      [1, 'Two.'],
    ]);
    expect(jobs[0]).toMatchObject({
      ...{ voice: 'alloy', speed: 1.5, instructions: 'Whisper.', model: 'tts-1' },
      onPhraseError: 'skip',
    });
  });

  it('whole: one JSON body with a whole file', async () => {
    const beganSeconds = Math.floor(Date.now() / 1000);
    const response = await ask({});
    expect(response.headers.get('content-type')).toBe('application/json');
    const streamId = response.headers.get('x-stream-id');
    const { choices, ...rest } = (await response.json()) as {
      choices: { message: { audio: { data: string; expires_at: number } } }[];
    };
    expect(rest).toMatchObject({
      ...{ id: `chatcmpl-${streamId}`, object: 'chat.completion', model: 'speaker' },
    });
    expect(choices).toStrictEqual([
      {
        ...{ index: 0, finish_reason: 'stop', logprobs: null },
        message: {
          ...{ role: 'assistant', content: null, refusal: null },
          audio: {
            ...{ id: `audio_${streamId}`, transcript: 'One. Two.' },
            ...{ data: expect.any(String), expires_at: expect.any(Number) },
          },
        },
      },
    ]);
    const { data, expires_at: expiresAt } = choices[0]?.message.audio ?? {
      ...{ data: '', expires_at: 0 },
    };
    const wav = Buffer.from(data, 'base64');
    expect(wav.toString('latin1', 0, 4)).toBe('RIFF');
    expect(wav.readUInt32LE(40)).toBe(wav.length - 44); // exact: the answer is whole
    expect(wav.length).toBe(44 + two.length * SILENCE_BYTES);
    const { AUDIO_ID_TTL_MS } = gateway.context.config;
    expect(expiresAt).toBeGreaterThanOrEqual(beganSeconds + AUDIO_ID_TTL_MS / 1000);
  });

  it('is refused when nobody is there to speak', async () => {
    const bare = await startRedis();
    const silent = await startScriptedWorker({
      redisUrl: bare.url,
      kind: 'chat',
      announced: { models: ['speaker'] },
      handler: speakPhrases(two),
    });
    const other = await openTestGateway(bare.url);
    try {
      const response = await post(spoken({ voice: 'alloy', format: 'wav' }), other.url);
      await expectError(response, {
        ...{ status: 503, type: 'service_unavailable_error', code: 'server_is_overloaded' },
      });
      expect(await other.queuedKeys()).toStrictEqual([]);
    } finally {
      await other.close();
      await silent.close();
      await bare.close();
    }
  });
});
