import { type ExpectedError, expectError } from '@antiphon/testing/error-envelope';
import { rawHttp } from '@antiphon/testing/raw-http';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type TestGateway, openTestGateway } from '../testing/test-gateway.ts';

const KEY = 'sk-right-0123456789abcdef';
const OTHER_KEY = 'another-key-of-another-tenant';

let redis: RedisServer;
let gateway: TestGateway;
let open: TestGateway;
let lists: TestGateway;
beforeAll(async () => {
  redis = await startRedis();
  gateway = await openTestGateway(redis.url, { API_KEYS: `${KEY}, ${OTHER_KEY}` });
  lists = await openTestGateway(redis.url, { API_KEYS: KEY, PUBLIC_LISTS: 'true' });
  open = await openTestGateway(redis.url);
});
afterAll(async () => {
  for (const opened of [gateway, lists, open]) await opened.close();
  await redis.close();
});

/** One request with these header lines, byte for byte. */
async function request(
  line: string,
  headers: string[],
  { body = '', port = gateway.port }: { body?: string; port?: number } = {},
) {
  const head = [
    `${line} HTTP/1.1`,
    'host: localhost',
    ...headers,
    `content-length: ${body.length}`,
  ];
  const { responses } = await rawHttp(port, [`${head.join('\r\n')}\r\n\r\n${body}`]);
  return responses[0];
}

const missing: ExpectedError = {
  status: 401,
  code: null,
  message:
    "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
};
const malformed: ExpectedError = {
  status: 401,
  code: 'invalid_api_key',
  message:
    'Incorrect API key provided: the Authorization header must be given once, as "Bearer YOUR_KEY".',
};
const malformedPlain: ExpectedError = {
  ...malformed,
  message:
    'Incorrect API key provided: the x-api-key header must be given once, with the key alone.',
};
const different: ExpectedError = {
  ...malformed,
  message:
    'Incorrect API key provided: the Authorization and x-api-key headers hold different keys.',
};
const wrong = (masked: string): ExpectedError => ({
  status: 401,
  code: 'invalid_api_key',
  message: `Incorrect API key provided: ${masked}.`,
});

describe('a request without the right key', () => {
  it.each<[string, string[], ExpectedError]>([
    ['none', [], missing],
    ['an empty header', ['authorization:'], malformed],
    ['the scheme alone', ['authorization: Bearer'], malformed],
    ['the scheme and a blank', ['authorization: Bearer '], malformed],
    ['two blanks', [`authorization: Bearer  ${KEY}`], malformed],
    ['a tab', [`authorization: Bearer\t${KEY}`], malformed],
    ['something after the key', [`authorization: Bearer ${KEY} x`], malformed],
    ['no scheme', [`authorization: ${KEY}`], malformed],
    ['basic', [`authorization: Basic ${Buffer.from(`:${KEY}`).toString('base64')}`], malformed],
    ['two headers', [`authorization: Bearer ${KEY}`, `authorization: Bearer ${KEY}`], malformed],
    [
      'two headers, one right',
      ['authorization: Bearer x', `Authorization: Bearer ${KEY}`],
      malformed,
    ],
    ['both keys in one', [`authorization: Bearer ${KEY},${OTHER_KEY}`], wrong('sk-***nant')],
    ['the start of the key', [`authorization: Bearer ${KEY.slice(0, -1)}`], wrong('sk-***bcde')],
    ['one letter more', [`authorization: Bearer ${KEY}0`], wrong('sk-***def0')],
    ['other case', [`authorization: Bearer ${KEY.toUpperCase()}`], wrong('SK-***CDEF')],
    ['a short one, which is not shown at all', ['authorization: Bearer hunter2'], wrong('***')],
    ['16 KB', [`authorization: Bearer ${'k'.repeat(16_384)}`], wrong('kkk***kkkk')],
    ['a cookie', [`cookie: authorization=Bearer ${KEY}`], missing],
    ['x-api-key with a wrong one', ['x-api-key: sk-wrong-0123456789'], wrong('sk-***6789')],
    ['x-api-key with a scheme', [`x-api-key: Bearer ${KEY}`], wrong('Bea***cdef')],
    ['an empty x-api-key', ['x-api-key:'], malformedPlain],
    ['two x-api-key', [`x-api-key: ${KEY}`, `x-api-key: ${KEY}`], malformedPlain],
    [
      'two right keys, one in each header',
      [`authorization: Bearer ${KEY}`, `x-api-key: ${OTHER_KEY}`],
      different,
    ],
    [
      'a right x-api-key beside a broken Authorization',
      ['authorization: x', `x-api-key: ${KEY}`],
      malformed,
    ],
  ])('%s', async (_what, headers, expected) => {
    await expectError(await request('GET /v1/models', headers), expected);
  });

  it('in the query is none', async () => {
    await expectError(await request(`GET /v1/models?api_key=${KEY}`, []), missing);
  });

  it('is told so before anything of its body is looked at', async () => {
    const type = 'content-type: application/json';
    for (const path of ['chat/completions', 'audio/speech', 'audio/transcriptions']) {
      await expectError(await request(`POST /v1/${path}`, [type], { body: '{' }), missing);
    }
  });

  it('learns nothing about routes, methods or models', async () => {
    for (const line of [
      'GET /api/nothing',
      'POST /api/stop_all',
      'POST /v1/streams/cancel',
      'GET /v1/nothing',
      'DELETE /v1/models',
      'GET /v1/models/unknown',
      'OPTIONS /v1/models',
      'GET /v1',
      'GET /v1/',
      'GET /%761/models',
      'GET /v1/audio/voices',
      'GET /v1/audio/models',
    ]) {
      await expectError(await request(line, []), missing);
    }
  });

  it.each(['//v1/models', '/V1/models', '/v1%2Fmodels', '/x/../v1/models', '/./v1/models'])(
    'does not get around by %s',
    async (path) => {
      const response = await request(`GET ${path}`, []);
      expect([401, 404]).toContain(response?.status);
      expect(await response?.text()).not.toContain('"object"');
    },
  );
});

describe('a request with a right key', () => {
  it.each([
    `Bearer ${KEY}`,
    `bearer ${KEY}`,
    `BEARER ${KEY}`,
    `Bearer ${OTHER_KEY}`,
    `Bearer ${KEY}  `,
  ])('%s', async (value) => {
    expect((await request('GET /v1/models', [`authorization: ${value}`]))?.status).toBe(200);
  });

  it.each([
    ['as x-api-key', [`x-api-key: ${KEY}`]],
    ['in both headers', [`X-Api-Key: ${KEY}`, `authorization: Bearer ${KEY}`]],
  ])('%s', async (_what, headers) => {
    expect((await request('GET /v1/models', headers))?.status).toBe(200);
  });

  it('hears of routes', async () => {
    const response = await request('GET /v1/nothing', [`authorization: Bearer ${KEY}`]);
    await expectError(response, {
      status: 404,
      code: null,
      message: 'Invalid URL (GET /v1/nothing)',
    });
  });
});

describe('what needs no key', () => {
  it.each(['/health', '/health/live', '/openapi.json', '/docs'])('%s', async (path) => {
    expect((await request(`GET ${path}`, []))?.status).toBe(200);
  });

  it('anything while no keys are set', async () => {
    const port = open.port;
    expect((await request('GET /v1/models', [], { port }))?.status).toBe(200);
    expect((await request('GET /v1/models', ['authorization: x'], { port }))?.status).toBe(200);
  });

  it('the two lists with PUBLIC_LISTS, and nothing else', async () => {
    const { port } = lists;
    for (const path of ['/v1/audio/voices', '/v1/audio/models', '/v1/audio/voices?model=x']) {
      expect((await request(`GET ${path}`, [], { port }))?.status).toBe(200);
    }
    for (const line of [
      'GET /v1/models',
      'POST /v1/audio/voices',
      'GET /v1/audio/voices/x',
      'POST /v1/audio/speech',
    ]) {
      await expectError(await request(line, [], { port }), missing);
    }
  });
});

describe('CORS', () => {
  const origin = 'https://app.example';
  it('is off unless origins are named', async () => {
    const response = await request('OPTIONS /v1/models', [
      `origin: ${origin}`,
      'access-control-request-method: GET',
      `authorization: Bearer ${KEY}`,
    ]);
    await expectError(response, { status: 405, code: 'method_not_supported' });
    expect(response?.headers.get('access-control-allow-origin')).toBeNull();
  });

  it('answers a preflight without a key, and lets the SDK headers pass', async () => {
    const cors = await openTestGateway(redis.url, { API_KEYS: KEY, CORS_ORIGINS: origin });
    try {
      const ask = (from: string) =>
        fetch(`${cors.url}/v1/chat/completions`, {
          method: 'OPTIONS',
          headers: {
            origin: from,
            'access-control-request-method': 'POST',
            'access-control-request-headers': 'authorization, x-api-key, x-stainless-retry-count',
          },
        });
      const response = await ask(origin);
      expect(response.status).toBe(204);
      expect(response.headers.get('access-control-allow-origin')).toBe(origin);
      const allowed = response.headers.get('access-control-allow-headers')?.split(',') ?? [];
      for (const name of [
        'authorization',
        'x-api-key',
        'content-type',
        'x-stainless-lang',
        'openai-project',
      ]) {
        expect(allowed.map((header) => header.trim())).toContain(name);
      }
      expect(
        (await ask('https://evil.example')).headers.get('access-control-allow-origin'),
      ).toBeNull();
      // A refusal must be readable for the page as well.
      const refused = await fetch(`${cors.url}/v1/models`, { headers: { origin } });
      expect(refused.headers.get('access-control-allow-origin')).toBe(origin);
      const exposed = refused.headers.get('access-control-expose-headers');
      for (const name of ['x-request-id', 'x-stream-id', 'server-timing'])
        expect(exposed).toContain(name);
      await expectError(refused, missing);
    } finally {
      await cors.close();
    }
  });
});
