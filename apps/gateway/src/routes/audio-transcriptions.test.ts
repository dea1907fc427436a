import { connect } from 'node:net';
import { once } from 'node:events';
import { gzipSync } from 'node:zlib';
import { wavHeader } from '@antiphon/shared/audio/wav';
import { type ExpectedError, expectError } from '@antiphon/testing/error-envelope';
import { type FormPart, multipartBody, multipartType } from '@antiphon/testing/multipart';
import { rawHttp } from '@antiphon/testing/raw-http';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { type ScriptedWorker, startScriptedWorker } from '@antiphon/testing/scripted-worker';
import { until } from '@antiphon/testing/until';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { hearOneSegment } from '../testing/scripted-handlers.ts';
import { type TestGateway, openTestGateway } from '../testing/test-gateway.ts';

const LIMIT_BYTES = 200_000;
const wav = Buffer.concat([
  wavHeader({ sampleRateHz: 16_000, dataBytes: 8000 }),
  new Uint8Array(8000),
]);
const file: FormPart = {
  name: 'file',
  value: wav,
  filename: 'speech.wav',
  contentType: 'application/octet-stream',
};

let redis: RedisServer;
let worker: ScriptedWorker<'transcription'>;
let gateway: TestGateway;
/** What lay in the blob store while the worker ran, per job. */
const stored: string[][] = [];

beforeAll(async () => {
  redis = await startRedis();
  worker = await startScriptedWorker({
    redisUrl: redis.url,
    kind: 'transcription',
    announced: { models: ['whisper-1'], languages: ['en'] },
    handler: async (context) => {
      stored.push(await gateway.blobNames());
      await hearOneSegment(context);
    },
  });
  gateway = await openTestGateway(redis.url, { MAX_UPLOAD_BYTES: String(LIMIT_BYTES) });
});
afterEach(async () => {
  await until(async () => (await gateway.blobNames()).length === 0, {
    what: 'an empty blob store',
  });
});
afterAll(async () => {
  await gateway.close();
  await worker.close();
  await redis.close();
});

const send = (body: RequestInit['body'], contentType = multipartType(), path = 'transcriptions') =>
  fetch(`${gateway.url}/v1/audio/${path}`, {
    method: 'POST',
    headers: { 'content-type': contentType },
    body: body ?? null,
  });
const sendForm = (fields: Record<string, string>, parts: FormPart[] = [file]) =>
  send(
    multipartBody([...parts, ...Object.entries(fields).map(([name, value]) => ({ name, value }))]),
  );
const lastJob = () => worker.jobs.at(-1);

async function expectRefused(answer: Promise<Response>, expected: ExpectedError): Promise<void> {
  const count = worker.jobs.length;
  await expectError(await answer, expected);
  expect(worker.jobs.length).toBe(count);
}

describe('a form that is none', () => {
  it.each(['text/plain', 'application/octet-stream', 'application/x-www-form-urlencoded'])(
    '%s is 415',
    async (contentType) => {
      await expectRefused(send(multipartBody([file]), contentType), {
        status: 415,
        code: null,
        message: `Unsupported content type: '${contentType}'. This API method only accepts 'multipart/form-data' requests, but you specified the header 'Content-Type: ${contentType}'. Please try again with a supported content type.`,
      });
    },
  );

  const whole = multipartBody([file, { name: 'model', value: 'whisper-1' }]);
  it.each<[string, string, Buffer]>([
    ['without a boundary', 'multipart/form-data', whole],
    ['with another boundary', multipartType('other'), whole],
    ['cut in the file', multipartType(), whole.subarray(0, 3000)],
    ['cut in a header', multipartType(), whole.subarray(0, 60)],
    ['cut before its last boundary', multipartType(), whole.subarray(0, whole.length - 30)],
    ['that is empty', multipartType(), Buffer.alloc(0)],
    ['that is noise', multipartType(), Buffer.alloc(5000, 0x2d)],
  ])('%s', async (_what, contentType, body) => {
    const response = await send(body, contentType);
    const { error } = (await response.clone().json()) as { error: { code: string } };
    await expectRefused(
      Promise.resolve(response),
      error.code === 'missing_required_parameter'
        ? { status: 400, code: 'missing_required_parameter', param: 'file' }
        : {
            status: 400,
            code: 'invalid_multipart',
            message: /^The multipart form could not be parsed: /,
          },
    );
  });
});

describe('the file', () => {
  const missing: ExpectedError = {
    status: 400,
    code: 'missing_required_parameter',
    param: 'file',
    message: "Missing required parameter: 'file'.",
  };
  it('is needed', async () => {
    await expectRefused(sendForm({ model: 'whisper-1' }, []), missing);
  });

  it('is no text field', async () => {
    await expectRefused(sendForm({ file: 'speech' }, []), missing);
  });

  it('comes once', async () => {
    await expectRefused(sendForm({}, [file, file]), {
      status: 400,
      code: 'invalid_multipart',
      message: "The multipart form could not be parsed: there is more than one 'file'.",
    });
    await expectRefused(sendForm({}, [file, { ...file, name: 'other' }]), {
      status: 400,
      code: 'invalid_multipart',
      message: /unknown file field 'other'/,
    });
  });

  it('is not empty', async () => {
    await expectRefused(sendForm({}, [{ ...file, value: '' }]), {
      status: 400,
      code: 'invalid_value',
      param: 'file',
      message: "Invalid 'file': it is empty.",
    });
  });

  it('is audio, whatever it is called', async () => {
    const unknown: ExpectedError = {
      status: 400,
      code: null,
      message:
        "Invalid file format. Supported formats: ['flac', 'm4a', 'mp3', 'mp4', 'mpeg', 'mpga', 'oga', 'ogg', 'wav', 'webm']",
    };
    for (const value of ['just text', '#EXTM3U\n/etc/passwd', '%PDF-1.7', '<svg/>', 'RIFF']) {
      await expectRefused(
        sendForm({}, [{ ...file, value, filename: 'a.wav', contentType: 'audio/wav' }]),
        unknown,
      );
    }
  });

  it.each([
    ['a way out', '../../../../tmp/antiphon-escaped'],
    ['a way out with backslashes', 'a\\..\\x.wav'],
    ['NUL', 'a\0b.wav'],
    ['an escape', 'a\u001b[2J.wav'],
    ['300 letters', `${'a'.repeat(300)}.wav`],
  ])('may not be named %s', async (_what, filename) => {
    await expectRefused(sendForm({}, [{ ...file, filename }]), {
      status: 400,
      code: 'invalid_multipart',
      message: 'The multipart form could not be parsed: the name of the file cannot be one.',
    });
  });

  it.each([
    ['a whole path', '/tmp/speech.wav'],
    ['a path of Windows', 'C:\\sound\\speech.wav'],
    ['dots', 'a..b...wav'],
    ['255 letters', `${'a'.repeat(251)}.wav`],
    ['nothing', ''],
    ['a wrong extension', 'speech.exe'],
  ])('may be named %s: its name is used for nothing', async (_what, filename) => {
    const response = await sendForm({}, [{ ...file, filename }]);
    expect(response.status).toBe(200);
    expect(stored.at(-1)).toStrictEqual([expect.stringMatching(/^[0-9a-f-]{36}$/)]);
    expect(lastJob()).toMatchObject({ format: 'wav', sizeBytes: wav.length });
  });

  it('stands first (JavaScript) or last (Python)', async () => {
    const model = { name: 'model', value: 'whisper-1' };
    for (const parts of [
      [file, model],
      [model, file],
    ]) {
      expect((await send(multipartBody(parts))).status).toBe(200);
      expect(lastJob()?.model).toBe('whisper-1');
    }
  });
});

describe('limits', () => {
  const sized = (bytes: number): FormPart => ({
    ...file,
    value: Buffer.concat([wav, Buffer.alloc(bytes - wav.length)]),
  });
  const tooLarge: ExpectedError = {
    status: 413,
    code: null,
    message: /^Maximum content size limit \(200000\) exceeded \(\d+ bytes read\)$/,
  };

  it('a file of the limit passes, one byte more does not', async () => {
    expect((await sendForm({}, [sized(LIMIT_BYTES)])).status).toBe(200);
    expect(lastJob()?.sizeBytes).toBe(LIMIT_BYTES);
    await expectRefused(sendForm({}, [sized(LIMIT_BYTES + 1)]), tooLarge);
  });

  it('in chunks too, and the connection stays usable', async () => {
    const body = multipartBody([sized(LIMIT_BYTES + 1)]);
    const head = `POST /v1/audio/transcriptions HTTP/1.1\r\nhost: localhost\r\ncontent-type: ${multipartType()}\r\ntransfer-encoding: chunked\r\n\r\n${body.length.toString(16)}\r\n`;
    const { responses } = await rawHttp(
      gateway.port,
      [head, body, '\r\n0\r\n\r\n', 'GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n'],
      { count: 2 },
    );
    await expectError(responses[0], tooLarge);
    expect(responses[1]?.status).toBe(200);
  });

  it('a client that goes on sending hears the 413', async () => {
    for (let round = 0; round < 5; round += 1) {
      await expectRefused(sendForm({}, [sized(LIMIT_BYTES * 3)]), tooLarge);
    }
  });

  it('what is many times too large is not read to its end', async () => {
    const body = multipartBody([sized(LIMIT_BYTES * 8)]);
    const { responses } = await rawHttp(gateway.port, [
      `POST /v1/audio/transcriptions HTTP/1.1\r\nhost: localhost\r\ncontent-type: ${multipartType()}\r\ncontent-length: ${body.length}\r\n\r\n`,
      body,
    ]);
    await expectError(responses[0], tooLarge);
  });

  it('what is compressed is not unpacked', async () => {
    const zipped = fetch(`${gateway.url}/v1/audio/transcriptions`, {
      method: 'POST',
      headers: { 'content-type': multipartType(), 'content-encoding': 'gzip' },
      body: new Uint8Array(gzipSync(multipartBody([file]))),
    });
    await expectRefused(zipped, {
      status: 415,
      code: null,
      message: /^Unsupported content encoding: 'gzip'/,
    });
  });

  it('15,000 parts are refused in short time', async () => {
    const parts = Array.from({ length: 15_000 }, (_, n) => ({ name: `f${n}`, value: 'x' }));
    const startedMs = performance.now();
    await expectRefused(send(multipartBody([file, ...parts])), {
      status: 400,
      code: 'invalid_multipart',
      message: 'The multipart form could not be parsed: more than 40 parts.',
    });
    expect(performance.now() - startedMs).toBeLessThan(6000);
  });

  it('40 parts pass and 41 do not; OpenAI’s whole form has 22 and its lists', async () => {
    const fields = (count: number): FormPart[] =>
      Array.from({ length: count }, () => ({ name: 'languages[]', value: '' }));
    expect((await send(multipartBody([file, ...fields(39)]))).status).toBe(200);
    for (const parts of [
      [file, ...fields(40)],
      [...fields(40), file],
    ]) {
      await expectRefused(send(multipartBody(parts)), {
        status: 400,
        code: 'invalid_multipart',
        message: 'The multipart form could not be parsed: more than 40 parts.',
      });
    }
  });

  it('field names and values have an end', async () => {
    for (const field of [
      { name: 'x'.repeat(300), value: '1' },
      { name: 'prompt', value: 'x'.repeat(100_000) },
    ]) {
      await expectRefused(send(multipartBody([file, field])), {
        status: 400,
        code: 'invalid_multipart',
        message: /^The multipart form could not be parsed: field '.{1,50}' is too long\.$/,
      });
    }
  });

  it('a client that leaves in the middle of its file leaves no file', async () => {
    const connections = await gateway.server.connectionCount();
    const socket = connect(gateway.port, '127.0.0.1');
    await once(socket, 'connect');
    const body = multipartBody([sized(LIMIT_BYTES)]);
    socket.write(
      `POST /v1/audio/transcriptions HTTP/1.1\r\nhost: localhost\r\ncontent-type: ${multipartType()}\r\ncontent-length: ${body.length}\r\n\r\n`,
    );
    socket.write(body.subarray(0, LIMIT_BYTES / 2));
    await until(async () => (await gateway.blobNames()).length === 1);
    socket.destroy();
    await until(async () => (await gateway.server.connectionCount()) <= connections);
    await until(async () => (await gateway.blobNames()).length === 0);
    expect((await sendForm({})).status).toBe(200);
  });
});

describe('fields', () => {
  it('Python sends defaults and empty fields', async () => {
    const response = await sendForm({
      model: 'whisper-1',
      prompt: '',
      language: '',
      temperature: '0',
      stream: 'false',
    });
    expect(response.headers.get('content-type')).toBe('application/json');
    expect(await response.json()).toStrictEqual({
      text: 'Good morning.',
      usage: { type: 'duration', seconds: 2 },
    });
    expect(lastJob()).toMatchObject({ temperature: 0, wordTimes: false, operation: 'transcribe' });
    expect(lastJob()).not.toHaveProperty('prompt');
    expect(lastJob()).not.toHaveProperty('language');
  });

  it.each(['timestamp_granularities[]', 'timestamp_granularities'])(
    '%s several times',
    async (name) => {
      const granularities = ['word', 'segment'].map((value) => ({ name, value }));
      const response = await send(
        multipartBody([file, { name: 'response_format', value: 'verbose_json' }, ...granularities]),
      );
      expect(await response.json()).toMatchObject({
        task: 'transcribe',
        language: 'english',
        duration: 1.5,
        text: 'Good morning.',
        segments: [{ id: 0, start: 0, end: 1.5, text: 'Good morning.' }],
        words: [{ word: 'Good', start: 0, end: 0.5 }],
      });
      expect(lastJob()?.wordTimes).toBe(true);
    },
  );

  it.each([
    ['text', 'text/plain; charset=utf-8', 'Good morning.\n'],
    ['srt', 'text/plain; charset=utf-8', '1\n00:00:00,000 --> 00:00:01,500\nGood morning.\n\n'],
    [
      'vtt',
      'text/plain; charset=utf-8',
      'WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nGood morning.\n\n',
    ],
  ])('response_format %s', async (response_format, contentType, body) => {
    const response = await sendForm({ response_format });
    expect(response.headers.get('content-type')).toBe(contentType);
    expect(response.headers.get('x-stream-id')).toMatch(/^s[0-9a-f]{32}$/);
    expect(response.headers.get('x-request-id')).toMatch(/^req_/);
    expect(await response.text()).toBe(body);
  });

  it('stream=true: a delta per segment, one end', async () => {
    const response = await sendForm({ stream: 'true' });
    expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
    expect(await response.text()).toBe(
      'data: {"type":"transcript.text.delta","delta":"Good morning."}\n\n' +
        'data: {"type":"transcript.text.done","text":"Good morning."}\n\n',
    );
  });

  it.each([
    ['en', 'en'],
    ['EN', 'en'],
    ['en-US', 'en'],
    ['pt_BR', 'pt'],
    ['german', 'de'],
    ['Chinese', 'zh'],
    ['yue', 'yue'],
  ])('language %s is %s', async (language, code) => {
    expect((await sendForm({ language })).status).toBe(200);
    expect(lastJob()?.language).toBe(code);
  });

  const unsupported = (param: string): ExpectedError => ({
    status: 400,
    code: 'unsupported_parameter',
    param,
    message: `Unsupported parameter: '${param}' is not supported with this model.`,
  });
  it.each<[string, Record<string, string>, ExpectedError]>([
    ['include', { 'include[]': 'logprobs' }, unsupported('include')],
    [
      'chunking_strategy',
      { 'chunking_strategy[type]': 'server_vad' },
      unsupported('chunking_strategy'),
    ],
    ['languages', { 'languages[]': 'en' }, unsupported('languages')],
    ['keywords', { keywords: 'antiphon' }, unsupported('keywords')],
    ['known_speaker_names', { 'known_speaker_names[]': 'Ann' }, unsupported('known_speaker_names')],
    [
      'response_format',
      { response_format: 'diarized_json' },
      {
        status: 400,
        code: 'invalid_value',
        param: 'response_format',
        message:
          "Invalid value: 'diarized_json'. Supported values are: 'json', 'text', 'srt', 'verbose_json', 'vtt'.",
      },
    ],
    [
      'granularities without verbose_json',
      { 'timestamp_granularities[]': 'word' },
      {
        status: 400,
        code: 'invalid_value',
        param: 'timestamp_granularities',
        message: /needs 'response_format' to be 'verbose_json', but it is 'json'/,
      },
    ],
    [
      'an unknown granularity',
      { 'timestamp_granularities[]': 'letter', response_format: 'verbose_json' },
      {
        status: 400,
        code: 'invalid_value',
        param: 'timestamp_granularities[0]',
        message: "Invalid value: 'letter'. Supported values are: 'word', 'segment'.",
      },
    ],
    [
      'stream of a format that cannot be streamed',
      { stream: 'true', response_format: 'srt' },
      { status: 400, code: 'unsupported_value', param: 'response_format' },
    ],
    [
      'stream',
      { stream: 'maybe' },
      { status: 400, code: 'invalid_value', param: 'stream', message: /^Invalid value: 'maybe'\./ },
    ],
    [
      'temperature above 1',
      { temperature: '1.5' },
      {
        status: 400,
        code: 'decimal_above_max_value',
        param: 'temperature',
        message:
          "Invalid 'temperature': decimal above maximum value. Expected a value <= 1, but got 1.5 instead.",
      },
    ],
    [
      'temperature',
      { temperature: 'warm' },
      { status: 400, code: 'invalid_type', param: 'temperature' },
    ],
    [
      'language',
      { language: 'not a language' },
      {
        status: 400,
        code: 'invalid_value',
        param: 'language',
        message:
          "Invalid language 'not a language'. Language parameter must be specified in ISO-639-1 format.",
      },
    ],
    [
      'prompt',
      { prompt: 'x'.repeat(4097) },
      { status: 400, code: 'invalid_value', param: 'prompt', message: /string too long/ },
    ],
    [
      'model',
      { model: 'whisper-9' },
      { status: 404, code: 'model_not_found', param: 'model', message: /`whisper-9`.*whisper-1/ },
    ],
  ])('%s is refused', async (_what, fields, expected) => {
    await expectRefused(sendForm(fields), expected);
  });

  it('chunking_strategy=auto is what happens anyway', async () => {
    expect((await sendForm({ chunking_strategy: 'auto' })).status).toBe(200);
  });
});

it('translations are jobs of their own kind', async () => {
  const response = await send(
    multipartBody([file, { name: 'response_format', value: 'verbose_json' }]),
    multipartType(),
    'translations',
  );
  expect(await response.json()).toMatchObject({ task: 'translate', text: 'Good morning.' });
  expect(lastJob()?.operation).toBe('translate');
});

describe('as JSON', () => {
  const sendJson = (body: object) => send(JSON.stringify(body), 'application/json');
  const data = wav.toString('base64');

  it('the audio in base64, the other fields as in the form', async () => {
    const response = await sendJson({
      model: 'whisper-1',
      input_audio: { data, format: 'mp3' },
      language: 'en',
      temperature: 0.5,
      response_format: 'verbose_json',
      timestamp_granularities: ['word'],
      prompt: null,
    });
    expect(await response.json()).toMatchObject({
      text: 'Good morning.',
      words: [{ word: 'Good' }],
    });
    expect(lastJob()).toMatchObject({
      ...{ model: 'whisper-1', language: 'en', temperature: 0.5 },
      ...{ format: 'wav', sizeBytes: wav.length },
    });
    expect(stored.at(-1)).toHaveLength(1);
  });

  it.each<[string, object, ExpectedError]>([
    [
      'no audio',
      { model: 'whisper-1' },
      {
        status: 400,
        code: 'missing_required_parameter',
        param: 'input_audio',
        message: "Missing required parameter: 'input_audio'.",
      },
    ],
    [
      'no data',
      { input_audio: { format: 'wav' } },
      { status: 400, code: 'missing_required_parameter', param: 'input_audio.data' },
    ],
    [
      'empty data',
      { input_audio: { data: '' } },
      { status: 400, code: 'invalid_value', param: 'input_audio.data' },
    ],
    [
      'a data URL',
      { input_audio: { data: `data:audio/wav;base64,${data}` } },
      {
        status: 400,
        code: 'invalid_value',
        param: 'input_audio.data',
        message: /leave out what stands before the comma/,
      },
    ],
    [
      'what is no base64',
      { input_audio: { data: `${data} ${data}` } },
      {
        status: 400,
        code: 'invalid_value',
        param: 'input_audio.data',
        message: /in base64, without blanks/,
      },
    ],
    [
      'no audio in it',
      { input_audio: { data: Buffer.from('just text').toString('base64') } },
      { status: 400, code: null, message: /^Invalid file format\./ },
    ],
    [
      'too much audio',
      { input_audio: { data: Buffer.alloc(LIMIT_BYTES + 1, wav).toString('base64') } },
      {
        status: 413,
        code: null,
        message: 'Maximum content size limit (200000) exceeded (200001 bytes read)',
      },
    ],
    [
      'a field that the form refuses',
      { input_audio: { data }, include: ['logprobs'] },
      { status: 400, code: 'unsupported_parameter', param: 'include' },
    ],
  ])('%s is refused', async (_what, body, expected) => {
    await expectRefused(sendJson(body), expected);
  });
});
