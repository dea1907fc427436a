import { expectError } from '@antiphon/testing/error-envelope';
import { rawHttp } from '@antiphon/testing/raw-http';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type TestGateway, openTestGateway } from '../testing/test-gateway.ts';

const KEY = 'sk-test-0123456789abcdef';
const APP = 'https://app.example';

let redis: RedisServer;
/** Without keys on the loopback, as `npm start` runs it. */
let open: TestGateway;
/** The same, but that pages of one other origin may ask. */
let shared: TestGateway;
/** Without keys in a network. */
let served: TestGateway;
let keyed: TestGateway;
const opened: TestGateway[] = [];

beforeAll(async () => {
  redis = await startRedis();
  const start = async (environment: NodeJS.ProcessEnv) => {
    const gateway = await openTestGateway(redis.url, environment);
    opened.push(gateway);
    return gateway;
  };
  open = await start({});
  shared = await start({ CORS_ORIGINS: APP });
  served = await start({ HOST: '0.0.0.0', AUTH_DISABLED: 'true' });
  keyed = await start({ API_KEYS: KEY });
});
afterAll(async () => {
  for (const gateway of opened) await gateway.close();
  await redis.close();
});

interface Asked {
  gateway?: TestGateway;
  line?: string;
  host?: string;
}

/** As a browser sends it: `fetch` writes these headers itself. */
const ask = async (headers: string[], { gateway = open, line, host }: Asked = {}) => {
  const head = [
    `${line ?? 'GET /v1/models'} HTTP/1.1`,
    `host: ${host ?? `127.0.0.1:${gateway.port}`}`,
    ...headers,
  ];
  const { responses } = await rawHttp(gateway.port, [
    `${head.join('\r\n')}\r\ncontent-length: 0\r\n\r\n`,
  ]);
  const [response] = responses;
  if (!response) throw new Error('no answer');
  return response;
};

const FOREIGN = { status: 403, code: 'origin_not_allowed' };
const MISNAMED = { status: 403, code: 'host_not_allowed' };

describe('a page of another origin', () => {
  it.each<[string, string[]]>([
    ['a script', ['sec-fetch-site: cross-site', 'sec-fetch-mode: cors', `origin: ${APP}`]],
    ['an image', ['sec-fetch-site: cross-site', 'sec-fetch-mode: no-cors']],
    ['another port of this machine', ['sec-fetch-site: same-site', 'origin: http://127.0.0.1:1']],
    ['an older browser', [`origin: ${APP}`]],
    ['a file, or a frame without an origin', ['origin: null']],
    ['an origin that is none', ['origin: http://']],
  ])('%s may not ask without a key', async (_what, headers) => {
    for (const gateway of [open, served])
      for (const line of ['GET /v1/models', 'POST /v1/chat/completions', 'POST /api/stop_all'])
        await expectError(await ask(headers, { gateway, line }), FOREIGN);
    for (const line of ['GET /metrics', 'GET /queues'])
      await expectError(await ask(headers, { line }), FOREIGN);
    await expectError(await ask(headers, { gateway: keyed, line: 'GET /metrics' }), FOREIGN);
  });

  it('may, where the operator allows it', async () => {
    for (const headers of [[`origin: ${APP}`], [`origin: ${APP}`, 'sec-fetch-site: cross-site']]) {
      const response = await ask(headers, { gateway: shared });
      expect(response.status).toBe(200);
      expect(response.headers.get('access-control-allow-origin')).toBe(APP);
    }
    const other = ['origin: https://other.example', 'sec-fetch-site: cross-site'];
    await expectError(await ask(other, { gateway: shared }), FOREIGN);
    const everybody = await openTestGateway(redis.url, { CORS_ORIGINS: '*' });
    opened.push(everybody);
    const response = await ask(other, { gateway: everybody });
    expect(response.status).toBe(200);
    expect(response.headers.get('access-control-allow-origin')).toBe('*');
  });

  it('may with a key, which no page has unless it was given one', async () => {
    const headers = [`origin: ${APP}`, 'sec-fetch-site: cross-site'];
    const authorized = [...headers, `authorization: Bearer ${KEY}`];
    expect((await ask(authorized, { gateway: keyed })).status).toBe(200);
    expect((await ask(headers, { gateway: keyed })).status).toBe(401);
  });

  it('may lead to the documentation', async () => {
    const headers = ['sec-fetch-site: cross-site', 'sec-fetch-mode: navigate'];
    for (const line of ['GET /docs', 'GET /openapi.json', 'GET /health/live'])
      expect((await ask(headers, { line })).status).toBe(200);
  });
});

describe('who else asks', () => {
  it.each<[string, string[]]>([
    ['the documentation’s own page', ['sec-fetch-site: same-origin', 'sec-fetch-mode: cors']],
    ['an address that was typed in', ['sec-fetch-site: none', 'sec-fetch-mode: navigate']],
    ['an SDK, curl, a server', []],
    ['Node’s fetch', ['sec-fetch-mode: cors']],
  ])('%s is answered', async (_what, headers) => {
    for (const gateway of [open, served])
      expect((await ask(headers, { gateway })).status).toBe(200);
  });

  it('the own page in an older browser is answered', async () => {
    const host = `localhost:${open.port}`;
    expect((await ask([`origin: http://${host}`], { host })).status).toBe(200);
    // Behind a proxy that ends TLS.
    const page = { gateway: served, host: 'Voice.example' };
    expect((await ask(['origin: https://voice.example'], page)).status).toBe(200);
  });
});

describe('a name that leads to the loopback', () => {
  it.each([
    'evil.example',
    'evil.example:8000',
    'localhost.evil.example',
    '127.0.0.1.evil.example',
    'x',
  ])('%s is not answered to', async (host) => {
    for (const line of ['GET /v1/models', 'POST /v1/audio/speech', 'GET /metrics'])
      await expectError(await ask(['sec-fetch-site: same-origin'], { host, line }), MISNAMED);
  });

  it.each([
    ...[
      'localhost',
      'LOCALHOST:8000',
      'localhost.',
      'voice.localhost',
      '127.0.0.1',
      '127.8.9.10:1',
    ],
    ...['[::1]:8000', '192.168.0.7', 'host.docker.internal:8000', 'host.containers.internal'],
  ])('%s is', async (host) => {
    expect((await ask([], { host })).status).toBe(200);
  });

  it('an allowed origin’s is, behind a proxy on this machine', async () => {
    expect((await ask([], { gateway: shared, host: 'app.example' })).status).toBe(200);
    await expectError(await ask([], { gateway: shared, host: 'www.app.example' }), MISNAMED);
  });

  it('in a network every name is: containers have their own', async () => {
    for (const host of ['gateway:8000', 'voice.example'])
      expect((await ask([], { gateway: served, host })).status).toBe(200);
  });

  it('with keys every name is', async () => {
    const authorized = [`authorization: Bearer ${KEY}`];
    const response = await ask(authorized, { gateway: keyed, host: 'voice.example' });
    expect(response.status).toBe(200);
  });
});
