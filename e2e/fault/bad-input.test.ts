import { once } from 'node:events';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { rawHttp } from '@antiphon/testing/raw-http';
import { until } from '@antiphon/testing/until';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { FaultStack, within } from './fault-stack.ts';

const KEY = 'key-of-tenant-a-0123456789';
const MAX_UPLOAD_BYTES = 200_000;
const MAX_INPUT_CHARACTERS = 4096;
const CHAT = '/v1/chat/completions';
const SPEECH = '/v1/audio/speech';
const HEAR = '/v1/audio/transcriptions';

let faults: FaultStack;
let jobsBefore: number;
/** Where the processes put what they need for a while. */
let temporary: string;
/** All that lies in DATA_DIR before anybody asks. */
let dataBefore: string[];

beforeAll(async () => {
  temporary = await mkdtemp(join(tmpdir(), 'antiphon-bad-input-'));
  faults = await FaultStack.start({
    ttsWorkers: 1,
    apiKey: KEY,
    environment: {
      'gateway:API_KEYS': KEY,
      LOG_LEVEL: 'trace',
      TMPDIR: temporary,
      'gateway:MAX_UPLOAD_BYTES': String(MAX_UPLOAD_BYTES),
      'gateway:MAX_INPUT_CHARACTERS': String(MAX_INPUT_CHARACTERS),
    },
  });
  jobsBefore = faults.calls() + faults.calls('/audio/speech');
  dataBefore = (await readdir(faults.stack.dataDirectory, { recursive: true })).toSorted();
}, 60_000);
afterEach(async () => {
  // Nobody was asked anything, nothing stayed, nothing broke.
  const blobs = join(faults.stack.dataDirectory, 'blobs');
  await until(async () => (await readdir(blobs)).length === 0, { what: 'no upload left' });
  await until(async () => (await readdir(temporary)).length === 0, { what: 'nothing temporary' });
  await faults.untilAtRest();
});
afterAll(async () => {
  await faults?.close();
  await rm(temporary, { recursive: true, force: true });
});

const calls = () => faults.calls() + faults.calls('/audio/speech') - jobsBefore;
const authorized = { authorization: `Bearer ${KEY}` };

async function post(path: string, body: RequestInit['body'], headers: Record<string, string> = {}) {
  const startedAtMs = performance.now();
  const response = await fetch(`${faults.stack.rootUrl}${path}`, {
    method: 'POST',
    body: body ?? null,
    headers: { ...authorized, ...headers },
  });
  const text = await response.text();
  return { status: response.status, text, tookMs: performance.now() - startedAtMs };
}
const JSON_TYPE = { 'content-type': 'application/json' };
const errorOf = (text: string) =>
  (JSON.parse(text) as { error: { type: string; param: string | null; code: string | null } })
    .error;

const question = { model: 'scripted', messages: [{ role: 'user', content: 'go' }] };
const deepObject = `{"a":`.repeat(100_000) + '1' + '}'.repeat(100_000);
const tenThousand = { ...question, messages: Array(10_000).fill(question.messages[0]) };

describe('B01', () => {
  it.each<[string, string | Buffer]>([
    ['empty', ''],
    ['an open brace', '{'],
    ['null', 'null'],
    ['a list', '[]'],
    ['UTF-16', Buffer.from(JSON.stringify(question), 'utf16le')],
    ['NaN', '{"model": NaN}'],
    ['a million levels', '['.repeat(1_000_000)],
    ['100,000 levels of objects', deepObject],
    ['ten thousand messages', JSON.stringify(tenThousand)],
  ])('B01 a body that is %s: 400 within a second, nothing asked', async (_what, body) => {
    for (const path of [CHAT, SPEECH]) {
      const { status, text, tookMs } = await post(path, body as string, JSON_TYPE);
      expect([status, errorOf(text).type]).toEqual([
        expect.toBeOneOf([400, 413]),
        'invalid_request_error',
      ]);
      expect(tookMs).toBeLessThan(within(1000));
    }
    expect(calls()).toBe(0);
  });

  it('B01 keys of prototypes change nothing', async () => {
    const evil = '{"__proto__": {"admin": true}, "constructor": {"prototype": {"admin": true}}, ';
    const { status } = await post(CHAT, `${evil}${JSON.stringify(question).slice(1)}`, JSON_TYPE);
    expect(status).toBe(200);
    const next = await post(CHAT, JSON.stringify({ ...question, messages: 'x' }), JSON_TYPE);
    expect(next.status).toBe(400);
    jobsBefore += 1;
  });
});

describe('B02', () => {
  it.each<[string, string, object, string]>([
    ['messages that are text', CHAT, { ...question, messages: 'x' }, 'messages'],
    ['no messages', CHAT, { ...question, messages: [] }, 'messages'],
    ['stream that is text', CHAT, { ...question, stream: 'yes' }, 'stream'],
    ['n below 1', CHAT, { ...question, n: -1 }, 'n'],
    ['an endless speed', SPEECH, speechOf({ speed: 1e308 }), 'speed'],
    ['nothing to say', SPEECH, speechOf({ input: '' }), 'input'],
    ['too much to say', SPEECH, speechOf({ input: 'x'.repeat(5000) }), 'input'],
    ['an unknown voice', SPEECH, speechOf({ voice: 'nobody' }), 'voice'],
    ['an unknown format', SPEECH, speechOf({ response_format: 'midi' }), 'response_format'],
    [
      'an unknown audio format',
      CHAT,
      spokenWith({ format: 'midi', voice: 'alloy' }),
      'audio.format',
    ],
  ])('B02 %s: 400 with its name', async (_what, path, body, param) => {
    const { status, text } = await post(path, JSON.stringify(body), JSON_TYPE);
    expect(status).toBe(400);
    expect(errorOf(text).param).toBe(param);
    expect(calls()).toBe(0);
  });

  it.each([
    [CHAT, { ...question, model: 'nobody' }],
    [SPEECH, speechOf({ model: 'nobody' })],
  ])('B02 %s of an unknown model: 404', async (path, body) => {
    const { status, text } = await post(path, JSON.stringify(body), JSON_TYPE);
    expect([status, errorOf(text).code]).toEqual([404, 'model_not_found']);
    expect(calls()).toBe(0);
  });
});

function speechOf(change: object): object {
  return { model: 'scripted-tts', voice: 'alloy', input: 'Hello.', ...change };
}
function spokenWith(audio: object): object {
  return { ...question, modalities: ['text', 'audio'], audio };
}

describe('B03', () => {
  const port = () => Number(new URL(faults.stack.rootUrl).port);
  const head = (lines: string[]) =>
    [`POST ${SPEECH} HTTP/1.1`, 'host: x', `authorization: Bearer ${KEY}`, ...lines, '', ''].join(
      '\r\n',
    );
  const statusOf = async (parts: string[]) => {
    const { responses, socket } = await rawHttp(port(), parts);
    expect(socket.destroyed).toBe(true);
    return responses[0]?.status;
  };

  it('B03 of the largest size, one more, and more in chunks', async () => {
    const form = (bytes: number) => {
      const body = new FormData();
      body.set('model', 'scripted-ear');
      body.set('file', new Blob([Buffer.alloc(bytes, 'x')]), 'x.wav');
      return body;
    };
    expect((await post(HEAR, form(MAX_UPLOAD_BYTES))).status).not.toBe(413);
    expect((await post(HEAR, form(MAX_UPLOAD_BYTES + 1))).status).toBe(413);
    const chunk = 'x'.repeat(65_536);
    const chunks = Array(40).fill(`10000\r\n${chunk}\r\n`) as string[];
    const type = 'content-type: application/json';
    const refused = await statusOf([
      head([type, 'transfer-encoding: chunked']),
      ...chunks,
      '0\r\n\r\n',
    ]);
    expect(refused).toBe(413);
  });

  it.each<[string, string[], number[]]>([
    ['a length and chunks', ['content-length: 5', 'transfer-encoding: chunked'], [400]],
    ['two lengths', ['content-length: 5', 'content-length: 6'], [400]],
    ['a length that is none', ['content-length: -1'], [400]],
    ['20 KB of headers', [`x-large: ${'x'.repeat(20_000)}`], [431]],
  ])('B03 %s', async (_what, lines, statuses) => {
    expect(statuses).toContain(await statusOf([`${head(lines)}0\r\n\r\n`]));
  });

  it('B03 a length beyond the body, and then nothing more: nobody is asked', async () => {
    const body = JSON.stringify(speechOf({}));
    const socket = connect(port(), '127.0.0.1');
    socket.on('error', () => undefined);
    let answer = '';
    socket.on('data', (part: Buffer) => {
      answer += part.toString('latin1');
    });
    const closed = once(socket, 'close');
    const lines = ['content-type: application/json', `content-length: ${body.length + 100}`];
    socket.end(`${head(lines)}${body}`);
    await closed;
    expect(answer).not.toMatch(/^HTTP\/1\.1 [25]/);
    expect(calls()).toBe(0);
  });

  it('B03 a length short of the body: refused, and the rest is no request', async () => {
    const body = JSON.stringify(speechOf({}));
    const lines = ['content-type: application/json', `content-length: ${body.length - 10}`];
    const { responses } = await rawHttp(port(), [`${head(lines)}${body}`], { count: 2 });
    expect(new Set(responses.map(({ status }) => status))).toEqual(new Set([400]));
    expect(calls()).toBe(0);
  });

  it('B03 300 headers are no reason to fall over', async () => {
    const lines = Array.from({ length: 300 }, (_, index) => `x-${index}: y`);
    const status = await statusOf([head([...lines, 'content-length: 2']), '{}']);
    expect(status).toBeLessThan(500);
  });
});

describe('B04', () => {
  const part = (name: string, value: string, fileName?: string) =>
    `--b\r\ncontent-disposition: form-data; name="${name}"${fileName === undefined ? '' : `; filename="${fileName}"`}\r\n\r\n${value}\r\n`;
  const model = part('model', 'scripted-ear');
  const MULTIPART = 'multipart/form-data; boundary=b';

  it.each<[string, string, string]>([
    ['no boundary', 'multipart/form-data', `${model}${part('file', 'x', 'a.wav')}--b--\r\n`],
    ['another boundary', 'multipart/form-data; boundary=c', `${model}--b--\r\n`],
    ['no end', MULTIPART, `${model}--b\r\ncontent-disposition: form-data; name="file"; fi`],
    ['no file', MULTIPART, `${model}--b--\r\n`],
    ['an empty file', MULTIPART, `${model}${part('file', '', 'a.wav')}--b--\r\n`],
    ['text as a file', MULTIPART, `${model}${part('file', 'this is text', 'a.wav')}--b--\r\n`],
    ['a field as a file', MULTIPART, `${model}${part('file', 'text')}--b--\r\n`],
    ['two files', MULTIPART, `${model}${part('file', 'x', 'a')}${part('file', 'x', 'b')}--b--\r\n`],
    ['15,000 parts', MULTIPART, `${part('x', 'y').repeat(15_000)}--b--\r\n`],
    ['a path as a name', MULTIPART, `${model}${part('file', 'x', '../../x')}--b--\r\n`],
    ['NUL in a name', MULTIPART, `${model}${part('file', 'x', 'a\0b')}--b--\r\n`],
    ['a long name', MULTIPART, `${model}${part('file', 'x', 'a'.repeat(300))}--b--\r\n`],
  ])('B04 a form with %s is refused, and leaves nothing', async (_what, type, body) => {
    const { status, text } = await post(HEAR, body, { 'content-type': type });
    expect(status).toBe(400);
    expect(errorOf(text).type).toBeDefined();
    expect((await readdir(faults.stack.dataDirectory, { recursive: true })).toSorted()).toEqual(
      dataBefore,
    );
  });
});

describe('B07', () => {
  it.each<[string, Record<string, string>]>([
    ['none', {}],
    ['no key', { authorization: 'Bearer' }],
    ['a key and more', { authorization: 'Bearer  x y' }],
    ['another scheme', { authorization: `basic ${KEY}` }],
    ['the beginning of a key', { authorization: `Bearer ${KEY.slice(0, -1)}` }],
    ['a letter more', { authorization: `Bearer ${KEY}x` }],
    ['16 KB', { authorization: `Bearer ${'x'.repeat(16_000)}` }],
  ])('B07 %s: 401, and nobody learns more', async (_what, headers) => {
    const bodies = new Set<string>();
    for (const [path, body] of [
      [CHAT, JSON.stringify(question)],
      [SPEECH, '{'],
      ['/v1/nowhere', ''],
    ] as const) {
      const response = await fetch(`${faults.stack.rootUrl}${path}`, {
        method: 'POST',
        body,
        headers: { ...JSON_TYPE, ...headers },
      });
      expect(response.status).toBe(401);
      bodies.add(await response.text());
    }
    expect(bodies.size).toBe(1);
    expect(calls()).toBe(0);
  });

  it('B07 in the query is none; the scheme may be in lower case', async () => {
    const { rootUrl } = faults.stack;
    const inQuery = await fetch(`${rootUrl}/v1/models?api_key=${KEY}`);
    expect(inQuery.status).toBe(401);
    const lower = await fetch(`${rootUrl}/v1/models`, {
      headers: { authorization: `bearer ${KEY}` },
    });
    expect(lower.status).toBe(200);
  });
});

describe('B08', () => {
  const said = () => faults.tts[0]?.upstream?.requestsTo('/audio/speech') ?? [];
  const inputs = (from: number) =>
    said()
      .slice(from)
      .map(({ body }) => (body as { input: string }).input);
  const speakChat = (text: string) => {
    faults.llm[0]?.upstream?.script({
      tokens: text.match(/[\s\S]{1,40}/gu) ?? [],
      tokenDelayMs: 0,
    });
    return faults.chat({
      headers: authorized,
      body: { modalities: ['text', 'audio'], audio: { voice: 'alloy', format: 'pcm16' } },
    });
  };

  it.each<[string, string]>([
    ['only code', '```js\nconst secret = 1;\n```\n'],
    ['a fence that never ends', 'Look at this.\n\n```js\nconst secret = 1;\nconst more = 2;\n'],
    ['100 KB without a blank', 'x'.repeat(100_000)],
    ['emoji, Arabic and control characters', 'Hello 👋🏽 مرحبا \u0007\u0000 \u202Eabc. Good.'],
    ['markup', '<script>alert(1)</script> <speak><break time="10s"/>Hello.</speak>'],
  ])('B08 an answer of %s ends, and no code is read', async (_what, text) => {
    faults.tts[0]?.upstream?.script({ path: '/audio/speech', audioSeconds: 0.1 });
    const before = said().length;
    const seen = await speakChat(text);
    expect(seen.ends).toHaveLength(1);
    expect(seen.ends[0]).toMatch(/^(done|error:)/);
    for (const input of inputs(before)) {
      expect(input).not.toContain('secret');
      expect(input.length).toBeLessThanOrEqual(400);
    }
    jobsBefore = faults.calls() + faults.calls('/audio/speech');
  });

  it.each([
    ['lone surrogates', 'Hello \ud800 there.'],
    ['blanks', '   \n\t '],
    ['control characters', '\u0001\u0002'],
  ])('B08 speech of %s: sound or a 400, never a hang', async (_what, input) => {
    const body = JSON.stringify(speechOf({ input, response_format: 'pcm' }));
    const { status, tookMs } = await post(SPEECH, body, JSON_TYPE);
    expect(status).toBeOneOf([200, 400]);
    expect(tookMs).toBeLessThan(within(5000));
    jobsBefore = faults.calls() + faults.calls('/audio/speech');
  });
});

describe('B09', () => {
  const port = () => Number(new URL(faults.stack.rootUrl).port);
  const raw = async (line: string, lines: string[] = []) => {
    const auth = `authorization: Bearer ${KEY}`;
    const { responses, bytes } = await rawHttp(port(), [
      [line, 'host: x', auth, 'connection: close', ...lines, '', ''].join('\r\n'),
    ]);
    return { response: responses[0], bytes: bytes.toString('latin1') };
  };

  it.each([
    'OPTIONS /v1/models HTTP/1.1',
    'TRACE /v1/models HTTP/1.1',
    'PUT /v1/models HTTP/1.1',
    'GET //evil HTTP/1.1',
    'GET /v1/%00 HTTP/1.1',
    'GET /v1/../etc/passwd HTTP/1.1',
    'GET /../../../../etc/passwd HTTP/1.1',
    'GET /v1/%2e%2e/%2e%2e/etc/passwd HTTP/1.1',
    'GET /v1/nowhere HTTP/1.1',
    'NONSENSE',
  ])('B09 %s: a JSON error of the client’s', async (line) => {
    const { response, bytes } = await raw(line);
    expect(response?.status).toBeOneOf([400, 401, 404, 405]);
    expect(response?.headers.get('content-type')).toMatch(/^application\/json/);
    expect(bytes).not.toContain('root:');
  });

  it('B09 HEAD has no body, and Expect is answered', async () => {
    const response = await fetch(`${faults.stack.rootUrl}/v1/models`, {
      method: 'HEAD',
      headers: authorized,
    });
    expect(response.status).toBeLessThan(500);
    expect(await response.text()).toBe('');
    const { bytes } = await raw(`POST ${CHAT} HTTP/1.1`, [
      'expect: 100-continue',
      'content-type: application/json',
      'content-length: 2',
      '',
      '{}',
    ]);
    expect(bytes).toMatch(/^HTTP\/1\.1 (100|400)/);
  });

  it('B09 pipelined requests are answered in their order', async () => {
    const one = (path: string) =>
      `GET ${path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${KEY}\r\n\r\n`;
    const { responses } = await rawHttp(port(), [one('/v1/models') + one('/v1/nowhere')], {
      count: 2,
    });
    expect(responses.map(({ status }) => status)).toEqual([200, 404]);
  });
});

it('B10 nothing of what was sent stands in a log, at any level', async () => {
  const canary = 'canary-b10-0815';
  const secret = { 'x-api-key': `${canary}-key`, authorization: `Bearer ${canary}-key` };
  const chat = JSON.stringify({ ...question, messages: [{ role: 'user', content: canary }] });
  await post(CHAT, chat, JSON_TYPE);
  await post(CHAT, chat, { ...JSON_TYPE, ...secret });
  await post(CHAT, chat.slice(0, -1), JSON_TYPE);
  await post(SPEECH, JSON.stringify(speechOf({ input: canary })), JSON_TYPE);
  await post(SPEECH, JSON.stringify(speechOf({ voice: canary })), JSON_TYPE);
  const form = new FormData();
  form.set('model', 'scripted-ear');
  form.set('file', new Blob([canary]), `${canary}.wav`);
  await post(HEAR, form);
  await fetch(`${faults.stack.rootUrl}/v1/models?api_key=${canary}`);
  const words = { error: { message: `${canary}: sk-${canary}` } };
  for (const status of [400, 401, 500]) {
    faults.scriptAll({ fault: { type: 'status', status, body: words } });
    const { status: told } = await post(CHAT, chat, JSON_TYPE);
    expect(told).toBeGreaterThanOrEqual(400);
  }
  await until(() => faults.gateway.process.output().includes('upstream_auth'));
  for (const { name, output } of faults.stack.processes)
    expect([name, output().includes(canary)]).toEqual([name, false]);
  for (const { output } of faults.stack.processes) expect(output()).not.toContain(KEY);
  jobsBefore = faults.calls() + faults.calls('/audio/speech');
});
