import { randomUUID } from 'node:crypto';
import { TRANSCRIPT_PART } from '@antiphon/shared/jobs/job-catalog';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { JobHandler } from '@antiphon/shared/queue/job-worker';
import { type ExpectedError, expectError } from '@antiphon/testing/error-envelope';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { type ScriptedWorker, startScriptedWorker } from '@antiphon/testing/scripted-worker';
import { until } from '@antiphon/testing/until';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { answerChat, speakPhrases, speakSilence } from '../testing/scripted-handlers.ts';
import { type TestGateway, openTestGateway } from '../testing/test-gateway.ts';
import { MAX_NEW_RECORDINGS } from '../chat/chat-recordings.ts';

/** What `listen` says a recording lasts, and OpenAI's tokens of as much. */
const HEARD_SECONDS = 1.5;
const HEARD_TOKENS = 15;

let redis: RedisServer;
let gateway: TestGateway;
let llm: ScriptedWorker<'chat'>;
let speaker: ScriptedWorker<'chat'>;
let tts: ScriptedWorker<'speech'>;
let stt: ScriptedWorker<'transcription'>;
let failure: VoiceError | undefined;
/** What the ears wait for. */
let held: Promise<void> | undefined;

/** Keeps what it "hears", as the stt-worker does. */
const listen: JobHandler<'transcription'> = async ({ job, producer, signal }) => {
  if (failure) throw failure;
  await held;
  const { transcriptKey, keepMs, partIndex } = job.chatPart ?? {};
  const heard = { text: 'hello', durationSeconds: HEARD_SECONDS };
  await gateway.context.transcripts.keep(transcriptKey ?? '', heard, keepMs ?? 0);
  await producer.append(
    {
      ...{ type: 'transcript-end', language: 'en', durationSeconds: HEARD_SECONDS },
      ...(partIndex === undefined ? {} : { partIndex }),
    },
    { ends: 'producer', signal },
  );
};

beforeAll(async () => {
  redis = await startRedis();
  const { url: redisUrl } = redis;
  gateway = await openTestGateway(redisUrl);
  [llm, speaker, tts, stt] = await Promise.all([
    startScriptedWorker({
      ...{ redisUrl, kind: 'chat' as const, announced: { models: ['writer'] } },
      handler: answerChat('Hello there.'),
    }),
    startScriptedWorker({
      ...{ redisUrl, kind: 'chat' as const, engine: 'speaker' },
      announced: { models: ['speaker'] },
      handler: speakPhrases(['One.']),
    }),
    startScriptedWorker({
      ...{ redisUrl, kind: 'speech' as const, handler: speakSilence },
      announced: { models: ['tts-1'], voices: [{ id: 'alloy', name: 'Alloy' }] },
    }),
    startScriptedWorker({
      ...{ redisUrl, kind: 'transcription' as const, handler: listen },
      announced: { models: ['ear'] },
    }),
  ]);
  await until(() => gateway.context.directory.workersOf('stt').some(({ live }) => live));
});
afterEach(async () => {
  failure = undefined;
  held = undefined;
  await until(async () => (await gateway.blobNames()).length === 0, { what: 'no recording left' });
});
afterAll(async () => {
  for (const worker of [llm, speaker, tts, stt]) await worker?.close();
  await gateway?.close();
  await redis?.close();
});

const post = (body: object, url = gateway.url) =>
  fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'writer', ...body }),
  });
const part = (bytes: Buffer, format = 'wav') => ({
  type: 'input_audio',
  input_audio: { data: bytes.toString('base64'), format },
});
/** That nobody has heard yet. */
const recording = (sizeBytes = 0) =>
  part(Buffer.concat([Buffer.from(`RIFF....WAVEfmt ${randomUUID()}`), Buffer.alloc(sizeBytes)]));
const user = (...content: object[]) => ({ role: 'user', content });
const ask = (...content: object[]) => ({ messages: [user(...content)] });
const spoken = (stream: boolean, messages: object[]) => ({
  ...{ model: 'speaker', stream, messages, modalities: ['text', 'audio'] },
  audio: { voice: 'alloy', format: stream ? 'pcm16' : 'wav' },
  ...(stream ? { stream_options: { include_usage: true } } : {}),
});
const bodyOf = (job: { requestJson?: string | undefined } | undefined) =>
  JSON.parse(job?.requestJson ?? '{}') as { messages: { content: unknown }[] };

describe('a recording that is refused', () => {
  const place = 'messages[0].content[0]';
  const fault = (code: string | null, param: string, message: RegExp = /./): ExpectedError => ({
    ...{ status: 400, code, param: `${place}${param}`, message },
  });
  const missing = (param: string) => fault('missing_required_parameter', param);
  const audio = (input_audio: unknown) => ask({ type: 'input_audio', input_audio });
  const one = recording();

  it.each<[string, object, ExpectedError]>([
    ['without input_audio', ask({ type: 'input_audio' }), missing('.input_audio')],
    ['without data', audio({ format: 'wav' }), missing('.input_audio.data')],
    ['without a format', audio({ data: 'AAAA' }), missing('.input_audio.format')],
    ['that is a text', audio('AAAA'), fault('invalid_type', '.input_audio')],
    ['that is null', audio(null), fault('invalid_type', '.input_audio')],
    [
      'of no bytes',
      audio({ data: '', format: 'wav' }),
      fault('invalid_value', '.input_audio.data'),
    ],
    [
      'of a format that is none',
      audio({ ...one.input_audio, format: 'doc' }),
      fault('invalid_value', '.input_audio.format', /^Invalid value: 'doc'\. .*'wav', 'mp3'/),
    ],
    [
      'with a data URL',
      audio({ data: `data:audio/wav;base64,${one.input_audio.data}`, format: 'wav' }),
      fault('invalid_value', '.input_audio.data', /data:…;base64,/),
    ],
    [
      'that is no base64',
      audio({ data: '*'.repeat(400), format: 'wav' }),
      fault('invalid_value', '.input_audio.data', /base64/),
    ],
    [
      'that is no sound',
      ask(part(Buffer.from('a letter to the editor'))),
      fault(null, '.input_audio.data', /^Invalid file format\./),
    ],
    [
      'that the model is to have said',
      { messages: [{ role: 'assistant', content: [one] }] },
      fault('invalid_value', '.type', /'input_audio'.*Only messages of the user/),
    ],
    [
      'that a tool is to have said',
      { messages: [{ role: 'tool', tool_call_id: 'x', content: [one] }] },
      fault('invalid_value', '.type'),
    ],
    [
      'by the key of its transcript',
      ask({ type: TRANSCRIPT_PART, key: 'antiphon:transcript:default:0' }),
      fault('invalid_value', '.type'),
    ],
    [
      `more new ones than ${MAX_NEW_RECORDINGS}`,
      ask(...Array.from({ length: MAX_NEW_RECORDINGS + 1 }, () => recording())),
      { status: 400, code: 'invalid_value', param: 'messages', message: /too many recordings/ },
    ],
  ])('%s', async (_what, body, expected) => {
    const before = await gateway.queuedKeys();
    for (const stream of [false, true]) {
      const response = await post({ ...body, stream });
      expect(response.headers.get('x-should-retry')).toBe('false');
      await expectError(response, expected);
    }
    expect(await gateway.queuedKeys()).toStrictEqual(before);
    expect(await gateway.blobNames()).toStrictEqual([]);
  });

  it('and nobody hears the good one before it', async () => {
    const heard = stt.jobs.length;
    const bad = part(Buffer.from('a letter to the editor'));
    await expectError(await post(ask(recording(), bad)), {
      ...{ status: 400, code: null, param: 'messages[0].content[1].input_audio.data' },
    });
    expect(stt.jobs.length).toBe(heard);
  });
});

describe('a recording that is taken', () => {
  it('is a job of its own, and its transcript’s key stands in the chat job', async () => {
    const [first, second] = [recording(), recording()];
    const between = { type: 'text', text: 'and' };
    const response = await post(ask(first, between, second));
    expect(response.status).toBe(200);
    const streamId = response.headers.get('x-stream-id');
    const jobs = stt.jobs.filter((job) => job.streamId === streamId);
    const keys = jobs
      .toSorted((one, other) => (one.chatPart?.partIndex ?? 0) - (other.chatPart?.partIndex ?? 0))
      .map(({ chatPart }) => chatPart?.transcriptKey);
    expect(keys).toHaveLength(2);
    const chat = llm.jobs.at(-1);
    expect(chat).toMatchObject({ streamId, hasTranscripts: true });
    expect(bodyOf(chat).messages).toStrictEqual([
      user({ type: TRANSCRIPT_PART, key: keys[0] }, between, {
        type: TRANSCRIPT_PART,
        key: keys[1],
      }),
    ]);
  });

  it('however long it is, leaves the chat job small', async () => {
    expect((await post(ask(recording(1_000_000)))).status).toBe(200);
    expect(llm.jobs.at(-1)?.requestJson?.length).toBeLessThan(1000);
  });

  it('that was heard before is no job', async () => {
    const same = recording();
    expect((await post(ask(same))).status).toBe(200);
    const heard = stt.jobs.length;
    expect((await post(ask(same))).status).toBe(200);
    expect(llm.jobs.at(-1)?.hasTranscripts).toBe(true);
    expect(stt.jobs.length).toBe(heard);
  });

  it('that another model heard before is one', async () => {
    const same = recording();
    expect((await post(ask(same))).status).toBe(200);
    const other = await startScriptedWorker({
      ...{ redisUrl: redis.url, kind: 'transcription' as const, engine: 'other' },
      ...{ announced: { models: ['other-ear'] }, handler: listen },
    });
    const second = await openTestGateway(redis.url, { DEFAULT_TRANSCRIPTION_MODEL: 'other-ear' });
    try {
      expect((await post(ask(same), second.url)).status).toBe(200);
      expect(other.jobs.map(({ model }) => model)).toStrictEqual(['other-ear']);
    } finally {
      await second.close();
      await other.close();
    }
  });

  it('text alone has none of it', async () => {
    const content = [{ type: 'text', text: 'hi' }];
    expect((await post({ messages: [{ role: 'user', content }] })).status).toBe(200);
    expect(llm.jobs.at(-1)).not.toHaveProperty('hasTranscripts');
    expect(bodyOf(llm.jobs.at(-1)).messages[0]?.content).toStrictEqual(content);
  });

  it.each([false, true])(
    'counts as audio tokens, whenever it was heard; stream: %s',
    async (stream) => {
      const messages = [
        user(recording()),
        { role: 'assistant', content: 'Yes?' },
        user(recording()),
      ];
      for (const turn of [1, 2]) {
        const heard = stt.jobs.length;
        const text = await (await post(spoken(stream, messages))).text();
        const last = stream ? text.split('data: ').at(-2) : text;
        const { usage } = JSON.parse(last ?? '') as { usage: object };
        expect(usage).toMatchObject({
          prompt_tokens: 2 * HEARD_TOKENS,
          prompt_tokens_details: { audio_tokens: 2 * HEARD_TOKENS },
        });
        expect(stt.jobs.length - heard).toBe(turn === 1 ? 2 : 0);
      }
    },
  );

  it('and cannot be heard: the stream’s error, and the model is never asked', async () => {
    failure = new VoiceError('audio_too_short', { param: 'messages[0].content[0]' });
    const asked = llm.jobs.length;
    for (const stream of [false, true]) {
      const response = await post({ ...ask(recording(), recording()), stream });
      expect(response.headers.get('x-stream-id')).toMatch(/^s[0-9a-f]{32}$/);
      await expectError(response, {
        ...{ status: 400, code: 'audio_too_short', param: 'messages[0].content[0]' },
      });
    }
    expect(llm.jobs.length).toBe(asked);
  });

  it('and nobody is there to hear it: 503 at once', async () => {
    const bare = await startRedis();
    const deaf = await openTestGateway(bare.url);
    const writer = await startScriptedWorker({
      ...{ redisUrl: bare.url, kind: 'chat' as const, announced: { models: ['writer'] } },
      handler: answerChat('Hello there.'),
    });
    try {
      await until(
        async () => (await post({ messages: [user({ type: 'text', text: 'hi' })] }, deaf.url)).ok,
      );
      const before = await deaf.queuedKeys();
      await expectError(await post(ask(recording()), deaf.url), {
        ...{ status: 503, type: 'service_unavailable_error', code: 'server_is_overloaded' },
      });
      expect(await deaf.queuedKeys()).toStrictEqual(before);
      expect(await deaf.blobNames()).toStrictEqual([]);
    } finally {
      await writer.close();
      await deaf.close();
      await bare.close();
    }
  });
});

describe('an answer that is named by its audio.id', () => {
  const follow = (audio: unknown) => ({
    messages: [
      { role: 'user', content: 'hi' },
      { role: 'assistant', audio },
      { role: 'user', content: 'Go on.' },
    ],
  });
  const param = 'messages[1].audio';

  it.each<[string, unknown, ExpectedError]>([
    [
      'and is unknown',
      { id: 'audio_0' },
      {
        ...{ status: 400, code: 'invalid_value', param: `${param}.id` },
        message: /'audio_0' is unknown here or has expired\. Send the text/,
      },
    ],
    [
      'by another key',
      { id: 'a:b *' },
      { status: 400, code: 'invalid_value', param: `${param}.id` },
    ],
    ['by nothing', {}, { status: 400, code: 'missing_required_parameter', param: `${param}.id` }],
    ['by a number', { id: 7 }, { status: 400, code: 'invalid_type', param: `${param}.id` }],
    ['as a text', 'audio_0', { status: 400, code: 'invalid_type', param }],
  ])('%s', async (_what, audio, expected) => {
    const before = await gateway.queuedKeys();
    await expectError(await post(follow(audio)), expected);
    expect(await gateway.queuedKeys()).toStrictEqual(before);
  });

  it('is its text', async () => {
    const answer = (await (
      await post(spoken(false, [{ role: 'user', content: 'hi' }]))
    ).json()) as {
      choices: { message: { audio: { id: string } } }[];
    };
    const { id } = answer.choices[0]?.message.audio ?? {};
    expect((await post(follow({ id }))).status).toBe(200);
    expect(bodyOf(llm.jobs.at(-1)).messages[1]).toStrictEqual({
      role: 'assistant',
      content: 'One.',
    });
    expect(llm.jobs.at(-1)).not.toHaveProperty('hasTranscripts');
  });
});

it('a chat whose recordings wait to be heard is told its place among those', async () => {
  const { promise, resolve: goOn } = Promise.withResolvers<void>();
  held = promise;
  const open = async () => {
    const list = (await (await fetch(`${gateway.url}/v1/streams`)).json()) as {
      data: { id: string; stage: string }[];
    };
    return list.data;
  };
  const placeOf = async (index: number) => {
    const { id } = (await open())[index] ?? {};
    const stream = await (await fetch(`${gateway.url}/v1/streams/${id}`)).json();
    return (stream as { queue_position?: number }).queue_position;
  };
  const answers = Array.from({ length: 4 }, () => post(ask(recording())));
  await until(async () => {
    const stages = (await open()).map(({ stage }) => stage);
    return stages.length === 4 && stages.every((stage) => stage === 'transcribing');
  });
  for (const place of [1, 2]) {
    answers.push(post(ask(recording())));
    await until(async () => (await placeOf(3 + place)) === place, { what: `place ${place}` });
  }
  goOn();
  const statuses = (await Promise.all(answers)).map(({ status }) => status);
  expect(statuses).toEqual(answers.map(() => 200));
});
