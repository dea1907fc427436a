import { expect, test } from 'vitest';
import { scrubSecrets, transportFailure, UpstreamStatusError } from './upstream-error.ts';

const failureOf = (status: number, body: unknown = '', headers: Record<string, string> = {}) =>
  transportFailure(
    new UpstreamStatusError(
      status,
      new Headers(headers),
      typeof body === 'string' ? body : JSON.stringify(body),
    ),
    'canary-key',
  );

test.each([
  [400, 'upstream_rejected', false],
  [401, 'upstream_auth', false],
  [402, 'upstream_auth', false],
  [403, 'upstream_auth', false],
  [404, 'upstream_rejected', false],
  [408, 'upstream_timeout', true],
  [413, 'upstream_rejected', false],
  [422, 'upstream_rejected', false],
  [429, 'rate_limit_exceeded', true],
  [500, 'upstream_unavailable', true],
  [503, 'upstream_unavailable', true],
  [304, 'upstream_unavailable', false],
])('status %i is %s', (status, code, retryable) => {
  expect(failureOf(status)).toMatchObject({ error: { code }, retryable });
});

test.each([
  ['OpenAI', { error: { message: 'No.', param: 'n', code: 'bad_n' } }, 'No. (bad_n)', 'n'],
  ['Ollama', { error: 'model "x" not found' }, 'model "x" not found', null],
  ['FastAPI', { detail: [{ loc: ['body'], msg: 'bad' }] }, '[{"loc":["body"],"msg":"bad"}]', null],
])('a refusal keeps the words of %s', (_name, body, message, param) => {
  expect(failureOf(400, body).error).toMatchObject({ code: 'upstream_rejected', message, param });
});

test('a refusal without words has ours', () => {
  expect(failureOf(400, '<html>').error.message).toBe('The engine refused the request.');
});

test('texts about credentials and faults of the upstream are not passed on', () => {
  for (const status of [401, 403, 429, 500]) {
    const { error } = failureOf(status, { error: { message: 'key canary-key of Bob' } });
    expect(error.message).not.toMatch(/canary|Bob/);
  }
});

test('secrets are taken out of refusals', () => {
  const text = 'canary-key sk-proj-abc_DEF123 Bearer abc.def redis://me:pw@host sk-1234****7890 ok';
  expect(scrubSecrets(text, 'canary-key')).toBe('*** *** Bearer *** redis://***@host *** ok');
});

test('Retry-After: seconds, milliseconds, dates; at most 60 s are handed on', () => {
  expect(failureOf(429, '', { 'retry-after': '7' })).toMatchObject({
    retryAfterMs: 7000,
    error: { retryAfterSeconds: 7 },
  });
  expect(failureOf(429, '', { 'retry-after-ms': '250' })).toMatchObject({
    retryAfterMs: 250,
    error: { retryAfterSeconds: 1 },
  });
  const date = new Date(Date.now() + 600_000).toUTCString();
  expect(failureOf(429, '', { 'retry-after': date }).error.retryAfterSeconds).toBe(60);
  expect(failureOf(503, '', { 'retry-after': 'x' }).retryAfterMs).toBeUndefined();
});

test('no second attempt where it cannot help', () => {
  expect(failureOf(429, { error: { code: 'insufficient_quota' } }).retryable).toBe(false);
  expect(failureOf(500, '', { 'x-should-retry': 'false' }).retryable).toBe(false);
});

test('connection errors may be tried again, connect timeouts have taken long enough', () => {
  const wrapped = (code: string) =>
    new Error('Connection error.', {
      cause: new TypeError('fetch failed', { cause: Object.assign(new Error('x'), { code }) }),
    });
  expect(transportFailure(wrapped('ECONNREFUSED'), undefined)).toMatchObject({
    error: { code: 'upstream_unavailable' },
    retryable: true,
  });
  expect(transportFailure(wrapped('UND_ERR_CONNECT_TIMEOUT'), undefined)).toMatchObject({
    error: { code: 'upstream_timeout' },
    retryable: false,
  });
});
