import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { until } from '@antiphon/testing/until';
import { Redis } from 'ioredis';
import OpenAI, { APIError, toFile } from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ScriptedLane, startScriptedLane } from '../testing/scripted-lane.ts';
import { type TestGateway, openTestGateway } from '../testing/test-gateway.ts';

const KEYS = ['sk-the-first-tenant', 'sk-the-second-tenant'] as const;

let server: RedisServer;
let redis: Redis;
let gateway: TestGateway;
let lanes: { close(): Promise<void> }[];
let chat: ScriptedLane<'chat'>;
let stt: ScriptedLane<'transcription'>;
let [openai, stranger] = [] as OpenAI[] as [OpenAI, OpenAI];

beforeAll(async () => {
  server = await startRedis();
  redis = new Redis(server.url);
  gateway = await openTestGateway(server.url, { API_KEYS: KEYS.join(',') });
  [openai, stranger] = KEYS.map(
    (apiKey) => new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey, maxRetries: 0 }),
  ) as [OpenAI, OpenAI];
  const common = { redisUrl: server.url, context: gateway.context };
  chat = await startScriptedLane({
    ...{ ...common, kind: 'chat', announced: { models: ['scripted'] } },
    handler: async ({ job }) => {
      const content = `line ${job.line}`;
      const body = {
        ...{ id: 'chatcmpl-1', object: 'chat.completion', created: 1, model: job.model },
        choices: [{ index: 0, message: { role: 'assistant', content }, finish_reason: 'stop' }],
        usage: { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5 },
      };
      return { result: { type: 'completion', body: JSON.stringify(body, null, 2) } };
    },
  });
  stt = await startScriptedLane({
    ...{ ...common, kind: 'transcription', announced: { models: ['whisper-1'] } },
    handler: async () => {
      const times = { startSeconds: 0, endSeconds: 1.5 };
      return {
        result: {
          ...{ type: 'transcript', segments: [{ text: 'Good morning.', ...times }] },
          ...{ words: [{ word: 'Good', ...times }], language: 'en', durationSeconds: 1.5 },
        },
      };
    },
  });
  const tts = await startScriptedLane({
    ...{ ...common, kind: 'speech', announced: { models: ['voice-1'] }, takesLines: false },
    handler: async () => {
      throw new Error('takes no lines');
    },
  });
  lanes = [chat, stt, tts];
});
afterAll(async () => {
  await Promise.all(lanes.map((lane) => lane.close()));
  await gateway.close();
  redis.disconnect();
  await server.close();
});

function jobsOf<Kind extends 'chat' | 'transcription'>(
  { jobs }: ScriptedLane<Kind>,
  id: string,
): ScriptedLane<Kind>['jobs'] {
  return jobs.filter(({ batchId }) => batchId === id);
}

type Endpoint = OpenAI.BatchCreateParams['endpoint'];

interface Asked extends Partial<Omit<OpenAI.BatchCreateParams, 'endpoint'>> {
  client?: OpenAI;
}

const upload = async (content: string, purpose: 'batch' | 'user_data' = 'batch', client = openai) =>
  client.files.create({ purpose, file: await toFile(Buffer.from(content), 'lines.jsonl') });

async function createBatch(
  endpoint: string,
  bodies: object[],
  { client = openai, ...asked }: Asked = {},
): Promise<OpenAI.Batch> {
  const lines = bodies.map((body, number) =>
    JSON.stringify({ custom_id: `line-${number}`, method: 'POST', url: endpoint, body }),
  );
  const { id } = await upload(lines.join('\n'), 'batch', client);
  return client.batches.create({
    ...{ input_file_id: id, endpoint: endpoint as Endpoint, completion_window: '24h' },
    ...asked,
  });
}

const untilStatus = (id: string, status: string, client = openai): Promise<OpenAI.Batch> =>
  until(
    async () => {
      const batch = await client.batches.retrieve(id);
      return batch.status === status ? batch : undefined;
    },
    { what: `${id} ${status}` },
  );

interface Answer {
  custom_id: string;
  response: { status_code: number; body: Record<string, unknown> };
}

async function answersOf(fileId: string | null | undefined): Promise<Answer[]> {
  if (!fileId) return [];
  const content = await (await openai.files.content(fileId)).text();
  return content
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Answer);
}

async function failure(asked: Promise<unknown>): Promise<APIError> {
  const error = await asked.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof APIError)) throw new Error('no APIError', { cause: error });
  return error;
}

const chats = (count: number) =>
  Array.from({ length: count }, (_, n) => ({ messages: [{ role: 'user', content: `say ${n}` }] }));

describe('a batch, by the official SDK', () => {
  it('is made, watched and read', async () => {
    const made = await createBatch('/v1/chat/completions', chats(5), {
      ...{
        metadata: { book: 'one' },
        output_expires_after: { anchor: 'created_at', seconds: 3600 },
      },
    });
    expect(made).toEqual({
      id: expect.stringMatching(/^batch_[0-9a-f]{32}$/),
      ...{ object: 'batch', endpoint: '/v1/chat/completions', completion_window: '24h' },
      ...{ status: 'validating', errors: null, metadata: { book: 'one' } },
      ...{ input_file_id: expect.stringMatching(/^file-/), created_at: expect.any(Number) },
      ...{ output_file_id: null, error_file_id: null, in_progress_at: null, failed_at: null },
      ...{ finalizing_at: null, completed_at: null, expired_at: null, cancelling_at: null },
      ...{ cancelled_at: null, expires_at: made.created_at + 86_400 },
      request_counts: { total: 0, completed: 0, failed: 0 },
    });
    const batch = await untilStatus(made.id, 'completed');
    expect(batch).toMatchObject({
      ...{ model: 'scripted', error_file_id: null, in_progress_at: expect.any(Number) },
      ...{ finalizing_at: expect.any(Number), completed_at: expect.any(Number) },
      request_counts: { total: 5, completed: 5, failed: 0 },
      usage: { input_tokens: 15, output_tokens: 10, total_tokens: 25 },
    });
    const answers = await answersOf(batch.output_file_id);
    expect(answers.map(({ custom_id: id }) => id)).toEqual([0, 1, 2, 3, 4].map((n) => `line-${n}`));
    expect(answers[3]?.response).toMatchObject({
      status_code: 200,
      body: { choices: [{ message: { content: 'line 3' } }], model: 'scripted' },
    });
    const file = await openai.files.retrieve(batch.output_file_id ?? '');
    expect(file).toMatchObject({ purpose: 'batch_output', filename: `${batch.id}_output.jsonl` });
    expect((file.expires_at ?? 0) - file.created_at).toBe(3600);
    const [job] = jobsOf(chat, batch.id);
    expect(job?.work).toMatchObject({ type: 'chat', choiceCount: 1 });
    expect(job?.requestId).toMatch(/^req_/);
  });

  it('is listed by pages, the newest first, to its own key only', async () => {
    const made: string[] = [];
    for (let count = 0; count < 5; count += 1) {
      made.unshift((await createBatch('/v1/chat/completions', chats(1), { client: stranger })).id);
    }
    const listed: string[] = [];
    for await (const batch of stranger.batches.list({ limit: 2 })) listed.push(batch.id);
    expect(listed).toEqual(made);
    const page = await stranger.batches.list({ limit: 4 });
    expect(page.has_more).toBe(true);
    const mine: string[] = [];
    for await (const batch of openai.batches.list()) mine.push(batch.id);
    expect(mine.filter((id) => made.includes(id))).toEqual([]);
    const [id = ''] = made;
    for (const asked of [
      () => openai.batches.retrieve(id),
      () => openai.batches.cancel(id),
      () => openai.batches.list({ after: id }),
    ]) {
      expect(await failure(asked())).toMatchObject({
        ...{ status: 404, type: 'invalid_request_error', code: null },
        message: expect.stringContaining(`No such Batch object: ${id}`),
      });
    }
  });

  it('is cancelled, and again is the same answer; one that is over cannot be', async () => {
    const { id } = await createBatch('/v1/audio/speech', [{ input: 'Hello.' }]);
    await untilStatus(id, 'in_progress');
    expect((await openai.batches.cancel(id)).status).toMatch(/^cancell/);
    expect((await openai.batches.cancel(id)).status).toMatch(/^cancell/);
    const batch = await untilStatus(id, 'cancelled');
    expect(batch).toMatchObject({ cancelled_at: expect.any(Number), output_file_id: null });
    expect((await openai.batches.cancel(id)).status).toBe('cancelled');
    const done = await createBatch('/v1/chat/completions', chats(1));
    await untilStatus(done.id, 'completed');
    expect(await failure(openai.batches.cancel(done.id))).toMatchObject({
      ...{ status: 400, message: expect.stringContaining("with status 'completed'") },
    });
  });

  it('tells the faults of its input', async () => {
    const { id: inputFileId } = await upload('no json\n');
    const { id } = await openai.batches.create({
      ...{ input_file_id: inputFileId, endpoint: '/v1/chat/completions', completion_window: '24h' },
    });
    const batch = await untilStatus(id, 'failed');
    expect(batch.errors).toEqual({
      object: 'list',
      data: [
        {
          ...{ code: 'invalid_json_line', param: null, line: 1 },
          message: 'This line is not parseable as valid JSON.',
        },
      ],
    });
    expect(batch.failed_at).toEqual(expect.any(Number));
  });
});

describe('what is asked for', () => {
  const refused = async (body: object, params: object = {}) =>
    failure(
      openai.batches.create({
        ...{ input_file_id: (await upload('{}')).id, endpoint: '/v1/chat/completions' },
        ...{ completion_window: '24h', ...body, ...params },
      }),
    );

  it.each([
    ['an endpoint', { endpoint: '/v1/embeddings' }, 'endpoint'],
    ['a window', { completion_window: '30d' }, 'completion_window'],
    ['a window that is too long', { completion_window: '169h' }, 'completion_window'],
    ['a value of metadata', { metadata: { a: 1 } }, 'metadata.a'],
    ['a long value of metadata', { metadata: { a: 'x'.repeat(513) } }, 'metadata.a'],
    ['a long key of metadata', { metadata: { ['x'.repeat(65)]: '' } }, 'metadata'],
    [
      'too much metadata',
      { metadata: Object.fromEntries(Array.from({ length: 17 }, (_, n) => [n, ''])) },
      'metadata',
    ],
    [
      'a short life',
      { output_expires_after: { anchor: 'created_at', seconds: 60 } },
      'output_expires_after.seconds',
    ],
  ])('%s that is none', async (_name, body, param) => {
    expect(await refused(body)).toMatchObject({ status: 400, param });
  });

  it('a file that is unknown, or for something else', async () => {
    expect(await refused({ input_file_id: 'file-unknown' })).toMatchObject({
      ...{ status: 404, param: 'input_file_id' },
    });
    const { id } = await upload('{}', 'user_data');
    expect(await refused({ input_file_id: id })).toMatchObject({
      ...{ status: 400, param: 'input_file_id', message: expect.stringContaining('user_data') },
    });
    const theirs = await upload('{}', 'batch', stranger);
    expect(await refused({ input_file_id: theirs.id })).toMatchObject({ status: 404 });
  });

  it('other windows than 24 h', async () => {
    const made = await createBatch('/v1/chat/completions', chats(1), {
      completion_window: '168h' as '24h',
    });
    expect((made.expires_at ?? 0) - made.created_at).toBe(7 * 86_400);
  });

  it('the same batch once, with an Idempotency-Key', async () => {
    const { id: inputFileId } = await upload('{}');
    const ask = (completionWindow: string) =>
      openai.batches.create(
        {
          ...{ input_file_id: inputFileId, endpoint: '/v1/chat/completions' },
          completion_window: completionWindow as '24h',
        },
        { headers: { 'Idempotency-Key': 'one' } },
      );
    const [first, second] = await Promise.all([ask('24h'), ask('24h')]);
    expect(second.id).toBe(first.id);
    expect((await failure(ask('48h'))).status).toBe(409);
  });
});

describe('lines of chats', () => {
  it('are those of the endpoint, but for what needs a stream or sound', async () => {
    const messages = [{ role: 'user', content: 'hi' }];
    const recording = { type: 'input_audio', input_audio: { data: 'AAAA', format: 'wav' } };
    const { id } = await createBatch('/v1/chat/completions', [
      { messages, temperature: 3 },
      { messages, stream: true },
      { messages, modalities: ['text', 'audio'], audio: { voice: 'alloy', format: 'mp3' } },
      { messages: [{ role: 'user', content: [recording] }] },
      { messages, n: 2 },
    ]);
    const batch = await untilStatus(id, 'completed');
    const answers = await answersOf(batch.error_file_id);
    expect(answers.map(({ response }) => response.body['error'])).toMatchObject([
      { param: 'temperature' },
      { param: 'stream' },
      { param: 'modalities' },
      { param: 'messages[0].content[0].input_audio.data' },
    ]);
    expect(jobsOf(chat, id).map(({ work }) => work)).toMatchObject([{ choiceCount: 2 }]);
  });

  it('that are long go by the store, which is empty afterwards', async () => {
    const content = 'x'.repeat(300_000);
    const { id } = await createBatch('/v1/chat/completions', [
      { messages: [{ role: 'user', content }] },
    ]);
    await untilStatus(id, 'completed');
    const [job] = jobsOf(chat, id);
    expect(job?.work).toMatchObject({ type: 'chat', requestBlobId: `${id}-0-body` });
    await until(async () => !(await gateway.context.fileBlobs.local(`${id}-0-body`)));
  });
});

describe('lines of transcriptions', () => {
  const wav = Buffer.concat([Buffer.from('RIFF\0\0\0\0WAVEfmt '), Buffer.alloc(100)]);

  it('name a recording, and are answered in every format', async () => {
    const { id: file_id } = await openai.files.create({
      ...{ purpose: 'user_data', file: await toFile(wav, 'hello.wav') },
    });
    const verbose = { response_format: 'verbose_json', timestamp_granularities: ['word'] };
    const { id } = await createBatch('/v1/audio/transcriptions', [
      { file_id, model: 'whisper-1' },
      { file_id, response_format: 'srt' },
      { file_id, ...verbose },
    ]);
    const batch = await untilStatus(id, 'completed');
    const answers = await answersOf(batch.output_file_id);
    expect(answers.map(({ response }) => response.body)).toEqual([
      { text: 'Good morning.', usage: { type: 'duration', seconds: 2 } },
      {
        text: '1\n00:00:00,000 --> 00:00:01,500\nGood morning.\n\n',
        content_type: 'text/plain; charset=utf-8',
      },
      expect.objectContaining({
        task: 'transcribe',
        words: [{ word: 'Good', start: 0, end: 1.5 }],
      }),
    ]);
    const [job] = jobsOf(stt, id);
    expect(job?.work).toMatchObject({ fileId: file_id, format: 'wav', sizeBytes: wav.length });
  });

  it('are refused without one of the same key', async () => {
    const theirs = await stranger.files.create({
      ...{ purpose: 'user_data', file: await toFile(wav, 'hello.wav') },
    });
    const { id: text } = await upload('this is no sound', 'user_data');
    const { id } = await createBatch('/v1/audio/transcriptions', [
      { url: 'https://example.com/a.wav' },
      { file_id: theirs.id },
      { file_id: text },
      { file_id: 7 },
      { file_id: text, stream: true },
    ]);
    const batch = await untilStatus(id, 'completed');
    const answers = await answersOf(batch.error_file_id);
    const errors = answers.map(({ response }) => [response.status_code, response.body['error']]);
    expect(errors).toMatchObject([
      [400, { param: 'file_id', message: expect.stringContaining("'url' is not taken") }],
      [404, { param: 'file_id', message: `No such File object: ${theirs.id}` }],
      [400, { param: 'file_id' }],
      [400, { param: 'file_id', code: 'invalid_type' }],
      [400, { param: 'stream' }],
    ]);
    expect(jobsOf(stt, id)).toEqual([]);
  });
});
