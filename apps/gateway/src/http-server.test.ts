import { connect } from 'node:net';
import { expectError } from '@antiphon/testing/error-envelope';
import { rawHttp } from '@antiphon/testing/raw-http';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { until } from '@antiphon/testing/until';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type TestGateway, openTestGateway } from './testing/test-gateway.ts';

let redis: RedisServer;
let gateway: TestGateway;
beforeAll(async () => {
  redis = await startRedis();
  gateway = await openTestGateway(redis.url);
});
afterAll(async () => {
  await gateway.close();
  await redis.close();
});

const request = async (line: string, headers: string[] = []) => {
  const { responses } = await rawHttp(gateway.port, [
    `${[`${line} HTTP/1.1`, 'host: localhost', ...headers].join('\r\n')}\r\n\r\n`,
  ]);
  return responses[0];
};

describe('routes', () => {
  it.each([
    'GET /',
    'GET /v1',
    'GET /v1/',
    'GET /v1/nothing',
    'POST /v1/responses',
    'POST /v1/embeddings',
    'GET /v1/audio',
    'GET //evil',
    'GET //evil.example/v1/models',
    'GET /v1//models',
    'GET /%00',
    'GET /v1/models%00',
    'GET /etc/passwd',
    'GET /docs/swagger-ui.css.map',
    'GET /docs/..%2Fpackage.json',
    'GET /docs/%2e%2e/package.json',
    'GET /docs/constructor',
    'DELETE /nothing',
    'PROPFIND /v1/nothing',
  ])('%s is unknown', async (line) => {
    const [method] = line.split(' ');
    await expectError(await request(line), {
      status: 404,
      code: null,
      message: new RegExp(`^Invalid URL \\(${method} /`),
    });
  });

  it.each([
    ['GET /v1/chat/completions', 'POST', 'POST'],
    ['PUT /v1/chat/completions', 'POST', 'POST'],
    ['OPTIONS /v1/audio/transcriptions', 'POST', 'POST'],
    ['DELETE /v1/models', 'GET, HEAD', 'GET'],
    ['POST /v1/models/a/b', 'GET, HEAD', 'GET'],
    ['TRACE /v1/models', 'GET, HEAD', 'GET'],
    ['PATCH /health', 'GET, HEAD', 'GET'],
    ['POST /openapi.json', 'GET, HEAD', 'GET'],
  ])('%s is the wrong method', async (line, allow, accepted) => {
    const response = await request(line, ['content-length: 0']);
    expect(response?.headers.get('allow')).toBe(allow);
    await expectError(response, {
      status: 405,
      code: 'method_not_supported',
      message: `Only ${accepted} requests are accepted.`,
    });
  });

  it('HEAD is answered where GET is, without a body', async () => {
    const response = await fetch(`${gateway.url}/v1/models`, { method: 'HEAD' });
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toBe('application/json');
    expect(await response.text()).toBe('');
    const refused = await fetch(`${gateway.url}/v1/audio/speech`, { method: 'HEAD' });
    expect(refused.status).toBe(405);
    expect(refused.headers.get('allow')).toBe('POST');
  });

  it('a path with dots never leaves the routes', async () => {
    for (const path of ['/v1/../v1/models', '/v1/./models', '/docs/../../../etc/passwd']) {
      const response = await request(`GET ${path}`);
      expect([200, 404]).toContain(response?.status);
      expect(response?.headers.get('content-type')).toBe('application/json');
      expect(await response?.text()).not.toContain('root:');
    }
  });
});

describe('what is no request', () => {
  it.each([
    ['noise', '\u0016\u0003\u0001 TLS'],
    ['no version', 'GET /v1/models\r\n\r\n'],
    ['no host', 'GET /v1/models HTTP/1.1\r\n\r\n'],
    ['a header without a colon', 'GET /v1/models HTTP/1.1\r\nhost: localhost\r\nnothing\r\n\r\n'],
    [
      'a length that is none',
      'POST /v1/models HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n',
    ],
    [
      'two lengths',
      'POST /v1/models HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n',
    ],
    [
      'a body of no kind',
      'POST /v1/models HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: x\r\n\r\n',
    ],
  ])('%s is 400', async (_what, bytes) => {
    const { responses } = await rawHttp(gateway.port, [bytes]);
    expect(responses[0]?.status).toBe(400);
    expect((await fetch(`${gateway.url}/health/live`)).status).toBe(200);
  });

  it('tells it in the envelope', async () => {
    const { responses } = await rawHttp(gateway.port, ['what\r\n\r\n']);
    await expectError(responses[0], {
      status: 400,
      code: null,
      message: 'What was sent is not an HTTP request.',
    });
  });

  it('20 KB of headers are 431', async () => {
    await expectError(await request('GET /v1/models', [`x-long: ${'x'.repeat(20_000)}`]), {
      status: 431,
      code: null,
      message: 'The headers of the request are too large.',
    });
  });
});

it('says 100 before a body that waits for it', async () => {
  const body = '{"messages":[]}';
  const { bytes, responses } = await rawHttp(gateway.port, [
    `POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nexpect: 100-continue\r\ncontent-length: ${body.length}\r\n\r\n`,
    body,
  ]);
  expect(bytes.toString()).toMatch(/^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 400 /);
  await expectError(responses[0], { status: 400, code: 'empty_array', param: 'messages' });
});

it('answers pipelined requests in their order', async () => {
  const post = (body: string) =>
    `POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
  const { responses } = await rawHttp(
    gateway.port,
    [
      [
        'GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n',
        post('{'),
        'GET /v1/nothing HTTP/1.1\r\nhost: localhost\r\n\r\n',
        post('{"messages":[]}'),
        'GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n',
      ].join(''),
    ],
    { count: 5 },
  );
  expect(responses.map(({ status }) => status)).toStrictEqual([200, 400, 404, 400, 200]);
});

describe('headers of every answer', () => {
  it('a request id of its own, and the client’s back', async () => {
    const ids = new Set<string | null>();
    for (const path of ['/health', '/v1/models', '/v1/nothing', '/docs', '/openapi.json']) {
      const response = await fetch(`${gateway.url}${path}`, {
        headers: { 'x-client-request-id': 'mine-7', 'x-request-id': 'forged' },
      });
      expect(response.headers.get('x-client-request-id')).toBe('mine-7');
      expect(response.headers.get('x-content-type-options')).toBe('nosniff');
      ids.add(response.headers.get('x-request-id'));
      await response.text();
    }
    expect(ids.size).toBe(5);
    for (const id of ids) expect(id).toMatch(/^req_[0-9a-f]{32}$/);
  });

  it('x-should-retry tells SDKs that a client’s fault stays one', async () => {
    const response = await fetch(`${gateway.url}/v1/nothing`);
    expect(response.headers.get('x-should-retry')).toBe('false');
  });
});

describe('connections above MAX_CONNECTIONS', () => {
  it('are closed without an answer, counted, and taken again when others have gone', async () => {
    const full = await openTestGateway(redis.url, { MAX_CONNECTIONS: '2' });
    try {
      const dropped = async () =>
        /connections_dropped_total (\d+)/.exec(await full.context.metrics.registry.metrics())?.[1];
      expect(await dropped()).toBe('0');
      const idle = [connect(full.port, '127.0.0.1'), connect(full.port, '127.0.0.1')];
      await until(async () => (await full.server.connectionCount()) === 2);
      const ask = () =>
        rawHttp(full.port, ['GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n']);
      expect((await ask()).responses).toEqual([]);
      expect(await dropped()).toBe('1');
      idle[0]?.destroy();
      await until(async () => (await full.server.connectionCount()) === 1);
      expect((await ask()).responses[0]?.status).toBe(200);
      idle[1]?.destroy();
    } finally {
      await full.close();
    }
  });
});

describe('listening', () => {
  it('port 0 takes a free one', () => {
    expect(gateway.port).toBeGreaterThan(0);
  });
});
