import { once } from 'node:events';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import { gzipSync } from 'node:zlib';
import { type ExpectedError, expectError } from '@antiphon/testing/error-envelope';
import { rawHttp } from '@antiphon/testing/raw-http';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { type ScriptedWorker, startScriptedWorker } from '@antiphon/testing/scripted-worker';
import { until } from '@antiphon/testing/until';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { answerChat } from '../testing/scripted-handlers.ts';
import { type TestGateway, openTestGateway } from '../testing/test-gateway.ts';
import { parseJsonObject } from './json-body.ts';

type Body = NonNullable<RequestInit['body']>;
const LIMIT_BYTES = 100_000;
let redis: RedisServer;
let worker: ScriptedWorker<'chat'>;
let gateway: TestGateway;

beforeAll(async () => {
  redis = await startRedis();
  worker = await startScriptedWorker({
    redisUrl: redis.url,
    kind: 'chat',
    announced: { models: ['scripted'] },
    handler: answerChat('yes'),
  });
  gateway = await openTestGateway(redis.url, { MAX_UPLOAD_BYTES: String(LIMIT_BYTES) });
});
afterAll(async () => {
  await gateway.close();
  await worker.close();
  await redis.close();
});

const post = (body: Body, headers: Record<string, string> = {}) =>
  fetch(`${gateway.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body,
  });
const chat = (extra = '') => `{"messages":[{"role":"user","content":"hi"}]${extra}}`;

/** A refused body must never have come as far as a queue. */
async function expectRefused(body: Body, expected: ExpectedError): Promise<void> {
  const before = await gateway.queuedKeys();
  const startedMs = performance.now();
  await expectError(await post(body), expected);
  expect(performance.now() - startedMs).toBeLessThan(3000);
  expect(await gateway.queuedKeys()).toStrictEqual(before);
}

describe('a body that is no JSON', () => {
  const unparsable: ExpectedError = {
    status: 400,
    code: null,
    message: /^We could not parse the JSON body of your request\. The API expects/,
  };
  it.each<[string, Body]>([
    ['empty', ''],
    ['cut off', '{'],
    ['not a number', chat(',"temperature":NaN')],
    ['infinite', chat(',"temperature":Infinity')],
    ['a comment', `${chat()}//`],
    ['a trailing comma', chat(',')],
    [
      'with a byte order mark',
      Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), Buffer.from(chat())]),
    ],
    ['UTF-16', Buffer.from(`\uFEFF${chat()}`, 'utf16le')],
    ['Latin-1', Buffer.from(chat(',"user":"\u00e9"'), 'latin1')],
    ['text', 'messages=hi'],
  ])('%s', async (_what, body) => {
    await expectRefused(body, unparsable);
  });

  it.each(['null', '[]', '"text"', '7', 'true', `${'['.repeat(40_000)}${']'.repeat(40_000)}`])(
    'JSON that is no object',
    async (body) => {
      await expectRefused(body, { ...unparsable, message: /must be a JSON object/ });
    },
  );
});

describe('a body that would hurt', () => {
  it('nested too deep, in objects and in arrays', async () => {
    const depth = 15_000;
    const deep = [
      `{"a":`.repeat(depth) + '1' + '}'.repeat(depth),
      chat(`,"metadata":${'['.repeat(depth)}${']'.repeat(depth)}`),
    ];
    for (const body of deep) {
      await expectRefused(body, { status: 400, code: null, message: /deeper than 64 levels/ });
    }
  });

  it('takes what is nested as deep as JSON schemas are', async () => {
    const depth = 50;
    const response = await post(chat(`,"x":${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}`));
    expect(response.status).toBe(200);
  });

  it('a million levels are refused within a second or so', async () => {
    const open = await openTestGateway(redis.url);
    try {
      const body = `${'['.repeat(1_000_000)}${']'.repeat(1_000_000)}`;
      for (const sent of [body, `{"messages":${body}}`]) {
        const response = await fetch(`${open.url}/v1/chat/completions`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: sent,
        });
        await expectError(response, { status: 400, code: null });
      }
    } finally {
      await open.close();
    }
  });

  it.each([
    ['a flat array of 25 MB', `[${'0,'.repeat(12_500_000)}0]`],
    ['an array that does not end', `[${'{},'.repeat(200_000)}`],
    ['objects', `[${'{"a":{}},'.repeat(60_000)}0]`],
  ])('more values than a request has: %s', async (_what, array) => {
    const bytes = Buffer.from(`{"messages":${array}}`);
    // Told by its message: it was not parsed, and nothing walked through it.
    expect(() => parseJsonObject(bytes)).toThrow(/it has more than 100000 values\.$/);
  });

  it('takes many values, whatever stands in strings', () => {
    const value = { values: Array(99_000).fill(0), text: ',[{:"'.repeat(50_000) };
    const text = JSON.stringify(value);
    expect(parseJsonObject(Buffer.from(text))).toStrictEqual({ text, value });
  });

  it('more messages than a conversation has', async () => {
    const message = '{"role":"user"}';
    await expectRefused(`{"messages":[${Array.from({ length: 2001 }, () => message).join()}]}`, {
      status: 400,
      code: 'invalid_value',
      param: 'messages',
      message:
        "Invalid 'messages': array too long. Expected an array with maximum length 2000, but got an array with length 2001 instead.",
    });
  });

  it('keys that reach prototypes are dropped before anything reads them', async () => {
    const count = worker.jobs.length;
    const response = await post(
      '{"__proto__":{"admin":true},"messages":[{"role":"user","content":"hi","constructor":{"prototype":{"admin":true}}}]}',
    );
    expect(response.status).toBe(200);
    expect(({} as { admin?: boolean }).admin).toBeUndefined();
    expect(JSON.parse(worker.jobs[count]?.requestJson ?? '')).toStrictEqual({
      messages: [{ role: 'user', content: 'hi' }],
      model: 'scripted',
    });
  });

  it('of a key given twice the last counts, for us as for the engine', async () => {
    const count = worker.jobs.length;
    const response = await post(
      chat(',"n":0,"n" :1,"model":"other","model":"scripted","user":"\\\\","user":"a\\"b\\": c"'),
    );
    expect(response.status).toBe(200);
    // As text: an engine's parser may take the first.
    expect(worker.jobs[count]?.requestJson).toBe(
      '{"messages":[{"role":"user","content":"hi"}],"n":1,"model":"scripted","user":"a\\"b\\": c"}',
    );
  });

  it('what has no key twice reaches the engine byte for byte', async () => {
    const count = worker.jobs.length;
    const body = chat(
      ',\n "model" : "scripted","seed":12345678901234567890,"x":["\\\\",{"":1,"a\\"":"\\u00e9: \\\\\\""}]',
    );
    expect((await post(body)).status).toBe(200);
    expect(worker.jobs[count]?.requestJson).toBe(body);
  });
});

describe('content types', () => {
  it.each(['text/plain', 'multipart/form-data; boundary=x', 'application/x-www-form-urlencoded'])(
    '%s is 415',
    async (contentType) => {
      await expectError(await post(chat(), { 'content-type': contentType }), {
        status: 415,
        code: null,
        message: `Unsupported content type: '${contentType}'. This API method only accepts 'application/json' requests, but you specified the header 'Content-Type: ${contentType}'. Please try again with a supported content type.`,
      });
    },
  );

  it.each(['application/json; charset=utf-8', 'APPLICATION/JSON', 'application/vnd.api+json'])(
    '%s is JSON',
    async (contentType) => {
      expect((await post(chat(), { 'content-type': contentType })).status).toBe(200);
    },
  );

  it.each(['gzip', 'br', 'deflate', 'identity, gzip'])('%s is not unpacked', async (encoding) => {
    const body = new Uint8Array(encoding.endsWith('gzip') ? gzipSync(chat()) : Buffer.from(chat()));
    await expectError(await post(body, { 'content-encoding': encoding }), {
      status: 415,
      code: null,
      message: `Unsupported content encoding: '${encoding}'. Please send the body without a Content-Encoding.`,
    });
  });

  it('identity is no encoding', async () => {
    expect((await post(chat(), { 'content-encoding': 'identity' })).status).toBe(200);
  });

  it('none at all is taken for JSON', async () => {
    const body = chat();
    const { responses } = await rawHttp(gateway.port, [
      `POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    ]);
    expect(responses[0]?.status).toBe(200);
  });
});

it('what a URL in a message leads to is for the engine: we fetch nothing', async () => {
  const asked: string[] = [];
  const inside = createServer((request, response) => {
    asked.push(request.url ?? '');
    response.end();
  });
  inside.listen(0, '127.0.0.1');
  await once(inside, 'listening');
  const { port } = inside.address() as { port: number };
  try {
    const url = `http://127.0.0.1:${port}`;
    const parts = [
      { type: 'text', text: 'look' },
      { type: 'image_url', image_url: { url: `${url}/image` } },
      { type: 'image_url', image_url: { url: 'data:image/png;base64,AAAA' } },
      { type: 'audio_url', audio_url: { url: `${url}/audio` } },
      { type: 'file', file: { file_url: `${url}/file`, filename: '../../etc/passwd' } },
    ];
    const messages = [{ role: 'user', content: parts }];
    const count = worker.jobs.length;
    expect((await post(JSON.stringify({ model: 'scripted', messages }))).status).toBe(200);
    expect(JSON.parse(worker.jobs[count]?.requestJson ?? '')).toMatchObject({ messages });
    expect(asked).toStrictEqual([]);
  } finally {
    inside.close();
  }
});

describe('a body at its limit', () => {
  const sized = (bytes: number) => {
    const frame = chat(',"user":""').length;
    return chat(`,"user":"${'x'.repeat(bytes - frame)}"`);
  };
  const tooLarge = (bytes: number): ExpectedError => ({
    status: 413,
    code: null,
    message: `Maximum content size limit (${LIMIT_BYTES}) exceeded (${bytes} bytes read)`,
  });
  const chunked = (text: string) =>
    `POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n${text.length.toString(16)}\r\n${text}\r\n0\r\n\r\n`;
  const counted = (text: string) =>
    `POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: ${text.length}\r\n\r\n${text}`;
  const after = 'GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n';

  it.each([
    ['Content-Length', counted],
    ['chunks', chunked],
  ])(
    'by %s: the limit passes, one more is 413, the connection stays usable',
    async (_by, write) => {
      const whole = await rawHttp(gateway.port, [write(sized(LIMIT_BYTES)), after], { count: 2 });
      expect(whole.responses.map(({ status }) => status)).toStrictEqual([200, 200]);
      const over = await rawHttp(gateway.port, [write(sized(LIMIT_BYTES + 1)), after], {
        count: 2,
      });
      await expectError(over.responses[0], tooLarge(LIMIT_BYTES + 1));
      expect(over.responses[1]?.status).toBe(200);
    },
  );

  it('a client that goes on sending hears the 413', async () => {
    for (let round = 0; round < 5; round += 1) {
      await expectError(await post(sized(LIMIT_BYTES * 4)), tooLarge(LIMIT_BYTES * 4));
    }
  });

  it('what is many times too large is not read to its end', async () => {
    const { responses } = await rawHttp(gateway.port, [counted(sized(LIMIT_BYTES * 8))]);
    await expectError(responses[0], {
      status: 413,
      code: null,
      message: /^Maximum content size limit \(100000\) exceeded \(\d+ bytes read\)$/,
    });
  });

  it('a client that leaves in the middle of its body leaves nothing', async () => {
    const before = await gateway.queuedKeys();
    const connections = await gateway.server.connectionCount();
    const socket = connect(gateway.port, '127.0.0.1');
    socket.write(
      counted(sized(5000)).replace('\r\n', '\r\nexpect: 100-continue\r\n').slice(0, 2000),
    );
    const [reply] = (await once(socket, 'data')) as [Buffer];
    expect(reply.toString()).toMatch(/^HTTP\/1\.1 100 /);
    socket.destroy();
    await until(async () => (await gateway.server.connectionCount()) <= connections);
    expect(await gateway.queuedKeys()).toStrictEqual(before);
    expect((await fetch(`${gateway.url}/health/live`)).status).toBe(200);
  });
});

it('Content-Length together with chunks is refused', async () => {
  const { responses } = await rawHttp(gateway.port, [
    'POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
  ]);
  await expectError(responses[0], { status: 400, code: null });
});
