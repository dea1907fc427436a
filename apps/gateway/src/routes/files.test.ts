import { createHash, randomBytes } from 'node:crypto';
import { readdir, rename } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { createBlobId, createFileId } from '@antiphon/shared/files/file-record';
import { expectError } from '@antiphon/testing/error-envelope';
import { type FormPart, multipartBody, multipartType } from '@antiphon/testing/multipart';
import { rawHttp } from '@antiphon/testing/raw-http';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { until } from '@antiphon/testing/until';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { FileObject } from '../openai/file-object.ts';
import { type TestGateway, openTestGateway } from '../testing/test-gateway.ts';

const LIMIT_BYTES = 300_000;
const KEYS = { one: 'sk-one-0123456789', two: 'sk-two-0123456789' };
const lines: FormPart = { name: 'file', value: '{"a":1}\n', filename: 'lines.jsonl' };
const batch: FormPart = { name: 'purpose', value: 'batch' };
const userData: FormPart = { name: 'purpose', value: 'user_data' };

let redis: RedisServer;
let gateway: TestGateway;
beforeAll(async () => {
  redis = await startRedis();
  gateway = await openTestGateway(redis.url, {
    API_KEYS: Object.values(KEYS).join(','),
    MAX_FILE_BYTES: String(LIMIT_BYTES),
    UPLOAD_IDLE_TIMEOUT_MS: '1000',
  });
});
afterAll(async () => {
  await gateway.close();
  await redis.close();
});
afterEach(async () => {
  for (const key of Object.values(KEYS)) {
    for (const { id } of (await list('', key)).data) await ask(`/${id}`, { method: 'DELETE', key });
  }
  await until(async () => (await stored()).length === 0, { what: 'an empty store' });
});

const stored = () => readdir(join(gateway.context.config.DATA_DIR, 'files'));

function ask(
  path: string,
  { key = KEYS.one, headers, ...init }: RequestInit & { key?: string } = {},
) {
  return fetch(`${gateway.url}/v1/files${path}`, {
    ...init,
    headers: { authorization: `Bearer ${key}`, ...(headers as Record<string, string>) },
  });
}
const send = (parts: FormPart[], key = KEYS.one) =>
  ask('', {
    method: 'POST',
    key,
    headers: { 'content-type': multipartType() },
    body: new Uint8Array(multipartBody(parts)),
  });
async function upload(parts: FormPart[], key = KEYS.one): Promise<FileObject> {
  const response = await send(parts, key);
  expect(response.status).toBe(200);
  return (await response.json()) as FileObject;
}

interface Page {
  object: string;
  data: FileObject[];
  first_id: string | null;
  last_id: string | null;
  has_more: boolean;
}
const list = async (query = '', key = KEYS.one) =>
  (await (await ask(query, { key })).json()) as Page;

describe('an upload', () => {
  it('is told again, with its life', async () => {
    const before = Math.floor(Date.now() / 1000);
    const file = await upload([lines, batch]);
    expect(file).toStrictEqual({
      id: expect.stringMatching(/^file-[0-9a-f]{32}$/),
      object: 'file',
      bytes: 8,
      created_at: expect.any(Number),
      expires_at: file.created_at + 2_592_000,
      filename: 'lines.jsonl',
      purpose: 'batch',
      status: 'processed',
      status_details: null,
    });
    expect(file.created_at).toBeGreaterThanOrEqual(before);
    expect(await (await ask(`/${file.id}`)).json()).toEqual(file);
    expect(await stored()).toEqual([file.id]);
  });

  it('lives as long as its sender says, whatever the order of the fields', async () => {
    const file = await upload([
      { name: 'expires_after[anchor]', value: 'created_at' },
      userData,
      { ...lines, filename: 'a.wav' },
      { name: 'expires_after[seconds]', value: '3600' },
    ]);
    expect(file.expires_at).toBe(file.created_at + 3600);
    expect(await upload([{ ...lines, filename: 'b.wav' }, userData])).not.toHaveProperty(
      'expires_at',
    );
  });

  it.each(['assistants', 'batch', 'fine-tune', 'vision', 'user_data', 'evals'])(
    'may be for %s',
    async (value) => {
      expect((await upload([lines, { name: 'purpose', value }])).purpose).toBe(value);
    },
  );

  it.each([
    ['/home/me/lines.JSONL', 'lines.JSONL'],
    ['C:\\batch\\lines.jsonl', 'lines.jsonl'],
  ])('named %s is %s', async (filename, expected) => {
    expect((await upload([{ ...lines, filename }, batch])).filename).toBe(expected);
  });

  const missing = { status: 400, code: 'missing_required_parameter' };
  const seconds = (value: string) => ({ name: 'expires_after[seconds]', value });
  const anchor = { name: 'expires_after[anchor]', value: 'created_at' };
  it.each<[string, FormPart[], Parameters<typeof expectError>[1]]>([
    ['no file', [batch], { ...missing, param: 'file' }],
    ['no purpose', [lines], { ...missing, param: 'purpose' }],
    [
      'an empty file',
      [{ ...lines, value: '' }, batch],
      { status: 400, code: 'invalid_value', param: 'file' },
    ],
    [
      'a purpose of nobody',
      [lines, { name: 'purpose', value: 'batch_output' }],
      { status: 400, code: 'invalid_value', param: 'purpose', message: /^Invalid value: 'batch_o/ },
    ],
    [
      'a batch that is no .jsonl',
      [{ ...lines, filename: 'lines.json' }, batch],
      {
        ...{ status: 400, code: null, param: 'file' },
        message: 'Invalid file format for Batch API. Must be .jsonl',
      },
    ],
    [
      'too short a life',
      [lines, batch, anchor, seconds('3599')],
      { status: 400, code: 'integer_below_min_value', param: 'expires_after.seconds' },
    ],
    [
      'too long a life',
      [lines, batch, anchor, seconds('2592001')],
      { status: 400, code: 'integer_above_max_value', param: 'expires_after.seconds' },
    ],
    [
      'a life that is no number',
      [lines, batch, anchor, seconds('1e4')],
      { status: 400, code: 'invalid_type', param: 'expires_after.seconds' },
    ],
    [
      'a life from nowhere',
      [lines, batch, seconds('3600')],
      { ...missing, param: 'expires_after.anchor' },
    ],
    ['two files', [lines, lines, batch], { status: 400, code: 'invalid_multipart' }],
    [
      'a name that leads out',
      [{ ...lines, filename: '../lines.jsonl' }, batch],
      { status: 400, code: 'invalid_multipart' },
    ],
    [
      'too many bytes',
      [{ ...lines, value: new Uint8Array(LIMIT_BYTES + 1) }, batch],
      { status: 413, code: null, message: /^Maximum content size limit \(300000\) exceeded/ },
    ],
  ])('with %s is refused, and nothing stays', async (_what, parts, expected) => {
    await expectError(await send(parts), expected);
    expect(await stored()).toEqual([]);
    expect((await list()).data).toEqual([]);
  });

  it('of exactly as many bytes as may be is taken', async () => {
    const file = await upload([{ ...lines, value: new Uint8Array(LIMIT_BYTES) }, batch]);
    expect(file.bytes).toBe(LIMIT_BYTES);
  });

  it('that breaks off leaves nothing', async () => {
    const body = multipartBody([{ ...lines, value: randomBytes(200_000) }, batch]);
    const head = [
      'POST /v1/files HTTP/1.1',
      'host: 127.0.0.1',
      `authorization: Bearer ${KEYS.one}`,
      `content-type: ${multipartType()}`,
      `content-length: ${body.length}`,
    ].join('\r\n');
    const socket = connect(gateway.port, '127.0.0.1');
    socket.write(`${head}\r\n\r\n`);
    socket.write(body.subarray(0, 100_000));
    await until(async () => (await stored()).length === 1, { what: 'a file that is begun' });
    socket.destroy();
    await until(async () => (await stored()).length === 0, { what: 'no file' });
    expect((await list()).data).toEqual([]);
  });

  it('that stalls is told so, and leaves nothing', async () => {
    const body = multipartBody([{ ...lines, value: randomBytes(200_000) }, batch]);
    const head = [
      'POST /v1/files HTTP/1.1',
      'host: 127.0.0.1',
      `authorization: Bearer ${KEYS.one}`,
      `content-type: ${multipartType()}`,
      `content-length: ${body.length}`,
    ].join('\r\n');
    const begun = [`${head}\r\n\r\n`, body.subarray(0, 100_000)];
    const { responses } = await rawHttp(gateway.port, begun);
    await expectError(responses[0], { status: 408, code: null });
    expect(await stored()).toEqual([]);
  });

  it('is heard to its end when the store fails, and told', async () => {
    const { context } = gateway;
    const directory = join(context.config.DATA_DIR, 'files');
    await rename(directory, `${directory}-away`);
    const failed = await send([{ ...lines, value: randomBytes(LIMIT_BYTES) }, batch]);
    await rename(`${directory}-away`, directory);
    await expectError(failed, { status: 500, type: 'server_error', code: 'internal_error' });
  });
});

describe('the list', () => {
  it('is by page, in both orders, by purpose, of one tenant', async () => {
    const a = await upload([lines, batch]);
    const b = await upload([lines, userData]);
    const c = await upload([lines, batch]);
    await upload([lines, batch], KEYS.two);
    const ids = async (query: string) => {
      const { object, data, first_id: first, last_id: last, has_more: more } = await list(query);
      expect([object, first, last]).toEqual(['list', data[0]?.id ?? null, data.at(-1)?.id ?? null]);
      return [data.map(({ id }) => id), more];
    };
    expect(await ids('')).toEqual([[c.id, b.id, a.id], false]);
    expect(await ids('?order=asc&limit=2')).toEqual([[a.id, b.id], true]);
    expect(await ids(`?order=asc&limit=2&after=${b.id}`)).toEqual([[c.id], false]);
    expect(await ids('?purpose=user_data')).toEqual([[b.id], false]);
    expect(await ids('?purpose=vision')).toEqual([[], false]);
  });

  it.each([
    ['limit=0', 'integer_below_min_value', 'limit'],
    ['limit=10001', 'integer_above_max_value', 'limit'],
    ['limit=ten', 'invalid_type', 'limit'],
    ['order=up', 'invalid_value', 'order'],
  ])('%s is refused', async (query, code, param) => {
    await expectError(await ask(`?${query}`), { status: 400, code, param });
  });

  it('behind a file that is unknown is refused', async () => {
    await expectError(await ask('?after=file-x'), {
      ...{ status: 404, code: null, param: 'after' },
      message: 'No such File object: file-x',
    });
  });
});

describe('a file', () => {
  const unknown = (id: string) => ({
    ...{ status: 404, code: null, param: 'id' },
    message: `No such File object: ${id}`,
  });

  it('of nobody or of another tenant is unknown', async () => {
    const { id } = await upload([lines, batch]);
    const asked: [string, string][] = [
      [id, KEYS.two],
      ['file-abc123', KEYS.one],
      ['../files/x', KEYS.one],
    ];
    for (const [fileId, key] of asked) {
      const path = `/${encodeURIComponent(fileId)}`;
      await expectError(await ask(path, { key }), unknown(fileId));
      await expectError(await ask(`${path}/content`, { key }), unknown(fileId));
      await expectError(await ask(path, { method: 'DELETE', key }), unknown(fileId));
    }
    expect((await ask(`/${id}`)).status).toBe(200);
  });

  it('that is deleted is gone, its bytes too', async () => {
    const { id } = await upload([lines, batch]);
    const deleted = await ask(`/${id}`, { method: 'DELETE' });
    expect(await deleted.json()).toStrictEqual({ id, object: 'file', deleted: true });
    expect(await stored()).toEqual([]);
    await expectError(await ask(`/${id}`, { method: 'DELETE' }), unknown(id));
    await expectError(await ask(`/${id}/content`), unknown(id));
  });

  it('whose bytes are lost is unknown', async () => {
    const { id } = await upload([lines, batch]);
    await gateway.context.fileBlobs.delete(id);
    await expectError(await ask(`/${id}/content`), unknown(id));
  });

  it('that nobody may ask for without a key', async () => {
    await expectError(await fetch(`${gateway.url}/v1/files`), { status: 401, code: null });
  });
});

describe('the content', () => {
  const value = randomBytes(150_000);
  const named = (filename: string) => upload([{ ...lines, value, filename }, userData]);

  it.each([
    ['shorter', 149_999],
    ['longer', 150_001],
    ['much longer', 400_000],
  ])(
    'that is %s than its record says is cut, and nothing is sent beyond it',
    async (_how, bytes) => {
      const { id } = await named('a.jsonl');
      await gateway.context.fileBlobs.put(Readable.from([randomBytes(bytes)]), id);
      const request = `GET /v1/files/${id}/content HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${KEYS.one}\r\n\r\n`;
      // A second answer never comes: the connection is closed.
      const answer = await rawHttp(gateway.port, [request], { count: 2 });
      expect(answer.responses.length).toBeLessThanOrEqual(1);
      const head = answer.bytes.indexOf('\r\n\r\n') + 4;
      expect(answer.bytes.subarray(0, head).toString()).toContain('content-length: 150000');
      expect(answer.bytes.length - head).toBeLessThan(150_000);
    },
  );

  it('of a record that names another blob is that, and goes with it', async () => {
    const { context } = gateway;
    const tenantId = `key-${createHash('sha256').update(KEYS.one).digest('hex').slice(0, 16)}`;
    const id = createFileId();
    const { blobId } = await context.fileBlobs.put(Readable.from([value]), createBlobId(id));
    await context.files.add({
      ...{ id, blobId, tenantId, bytes: value.length, filename: 'line-1.mp3' },
      ...{ purpose: 'batch_output', createdAtSeconds: 1 },
    });
    const response = await ask(`/${id}/content`);
    expect(Buffer.from(await response.arrayBuffer()).equals(value)).toBe(true);
    expect((await ask(`/${id}`, { method: 'DELETE' })).status).toBe(200);
    expect(await stored()).toEqual([]);
  });

  it('is the bytes that came', async () => {
    const form = new FormData();
    form.set('file', new File([value], "über 'alles' (1).mp3"));
    form.set('purpose', 'user_data');
    const { id } = (await (await ask('', { method: 'POST', body: form })).json()) as FileObject;
    const response = await ask(`/${id}/content`);
    expect(response.status).toBe(200);
    expect(Object.fromEntries(response.headers)).toMatchObject({
      'content-type': 'audio/mpeg',
      'content-length': '150000',
      'content-disposition': `attachment; filename="_ber 'alles' (1).mp3"; filename*=UTF-8''%C3%BCber%20%27alles%27%20%281%29.mp3`,
      'accept-ranges': 'bytes',
      etag: `"${id}"`,
      'x-content-type-options': 'nosniff',
      'x-request-id': expect.stringMatching(/^req_/),
    });
    expect(Buffer.from(await response.arrayBuffer()).equals(value)).toBe(true);
  });

  it.each([
    ['a.jsonl', 'application/jsonl'],
    ['a.WAV', 'audio/wav'],
    ['a.html', 'application/octet-stream'],
    ['constructor', 'application/octet-stream'],
  ])('of %s is %s', async (filename, expected) => {
    const { id } = await named(filename);
    const response = await ask(`/${id}/content`);
    expect(response.headers.get('content-type')).toBe(expected);
    await response.arrayBuffer();
  });

  it('comes in ranges', async () => {
    const { id } = await named('a.wav');
    const part = (range: string, headers = {}) =>
      ask(`/${id}/content`, { headers: { range, ...headers } });
    for (const [range, start, end] of [
      ['bytes=0-9', 0, 9],
      ['bytes=149990-', 149_990, 149_999],
      ['bytes=-7', 149_993, 149_999],
      ['bytes=10-999999', 10, 149_999],
    ] as const) {
      const response = await part(range);
      expect(response.status).toBe(206);
      expect(response.headers.get('content-range')).toBe(`bytes ${start}-${end}/150000`);
      const bytes = Buffer.from(await response.arrayBuffer());
      expect(bytes.equals(value.subarray(start, end + 1))).toBe(true);
    }
    const behind = await part('bytes=150000-');
    expect(behind.headers.get('content-range')).toBe('bytes */150000');
    await expectError(behind, { status: 416, code: 'range_not_satisfiable' });
    const statuses = [`"${id}"`, '"other"'].map(async (tag) => {
      const response = await part('bytes=0-9', { 'if-range': tag });
      await response.arrayBuffer();
      return response.status;
    });
    expect(await Promise.all(statuses)).toEqual([206, 200]);
  });

  it('HEAD tells all but the bytes', async () => {
    const { id } = await named('a.wav');
    const response = await ask(`/${id}/content`, { method: 'HEAD' });
    expect([response.status, response.headers.get('content-length')]).toEqual([200, '150000']);
    expect(await response.text()).toBe('');
    expect(
      (await ask(`/${id}/content`, { method: 'HEAD', headers: { range: 'bytes=0-9' } })).status,
    ).toBe(206);
    const gone = await ask('/file-x/content', { method: 'HEAD' });
    expect(gone.status).toBe(404);
  });
});

it('a page that may call may delete as well, and read the name of a file', async () => {
  const origin = 'https://page.example';
  const open = await openTestGateway(redis.url, { CORS_ORIGINS: origin });
  const asked = (method: string) =>
    fetch(`${open.url}/v1/files/file-x`, {
      method,
      headers: { origin, 'access-control-request-method': 'DELETE' },
    });
  const preflight = await asked('OPTIONS');
  expect(preflight.headers.get('access-control-allow-methods')).toContain('DELETE');
  const exposed = (await asked('DELETE')).headers.get('access-control-expose-headers');
  expect(exposed).toContain('content-disposition');
  await open.close();
});
