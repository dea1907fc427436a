import { once } from 'node:events';
import { connect } from 'node:net';
import { batchChannel, batchKey, createBatchId } from '@antiphon/shared/batches/batch-key';
import type { BatchStatus } from '@antiphon/shared/batches/batch-record';
import { BatchStore } from '@antiphon/shared/batches/batch-store';
import { expectError } from '@antiphon/testing/error-envelope';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { until } from '@antiphon/testing/until';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { type TestGateway, openTestGateway } from '../testing/test-gateway.ts';

const KEY = 'key-of-tenant-a-0123456789';
const OTHER_KEY = 'key-of-tenant-b-0123456789';
const ORIGIN = 'https://page.example';
const environment = {
  API_KEYS: `${KEY},${OTHER_KEY}`,
  ...{ KEEPALIVE_MS: '100', CORS_ORIGINS: ORIGIN },
};

let server: RedisServer;
let redis: Redis;
let gateway: TestGateway;
let batches: BatchStore;
let tenantId: string;
let id: string;

beforeAll(async () => {
  server = await startRedis();
  redis = new Redis(server.url);
  gateway = await openTestGateway(server.url, environment);
  ({ batches } = gateway.context);
  tenantId = gateway.context.keys.find(KEY)?.tenantId ?? '';
  // What happens to batches is these tests' to say.
  await gateway.runner.stop();
});
beforeEach(async () => {
  id = createBatchId();
  await batches.create({
    ...{ id, tenantId, endpoint: '/v1/audio/speech', inputFileId: 'file-in' },
    ...{ completionWindow: '24h', windowSeconds: 3600, outputLifeSeconds: 60 },
  });
});
afterAll(async () => {
  await gateway.close();
  redis.disconnect();
  await server.close();
});

const ask = (batchId = id, { key = KEY, signal }: { key?: string; signal?: AbortSignal } = {}) =>
  fetch(`${gateway.url}/v1/batches/${batchId}/events`, {
    headers: { authorization: `Bearer ${key}` },
    signal: signal ?? null,
  });

/** What has come of an answer so far. */
interface Following {
  text: string;
  ended: Promise<void>;
}

function follow(response: Response): Following {
  const following: Following = { text: '', ended: Promise.resolve() };
  const read = async () => {
    for await (const bytes of response.body ?? []) following.text += Buffer.from(bytes).toString();
  };
  following.ended = read().catch(() => undefined); // it was aborted
  return following;
}

interface Shown {
  status: BatchStatus;
  request_counts: { total: number; completed: number; failed: number };
}
const framesOf = ({ text }: Following) => text.match(/^data: .*$/gm) ?? [];
const shown = (following: Following) =>
  framesOf(following)
    .filter((frame) => frame !== 'data: [DONE]')
    .map((frame) => JSON.parse(frame.slice('data: '.length)) as Shown);
const lastOf = (following: Following) => shown(following).at(-1);

const record = (line: number) =>
  batches.record(id, line, {
    result: { type: 'error', error: { code: 'engine_failed', message: 'no' } },
  });
const listeners = () => gateway.context.batchSubscriber.batchCount;

it('tells how a batch is, each change of it, and its end last', async () => {
  const response = await ask();
  expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
  expect(response.headers.get('x-request-id')).toMatch(/^req_/);
  const following = follow(response);
  await batches.start(id, { total: 2, model: 'm' });
  await until(() => lastOf(following)?.status === 'in_progress');
  await record(0);
  await until(() => lastOf(following)?.request_counts.failed === 1);
  await record(1);
  await batches.close(id);
  const errorFile = {
    ...{ id: 'file-e', tenantId: 'anonymous', bytes: 1, filename: 'e.jsonl' },
    ...{ purpose: 'batch_output', createdAtSeconds: 1 },
  };
  await batches.end(id, 'completed', { errorFile });
  await following.ended;
  const frames = framesOf(following);
  expect(frames.at(-1)).toBe('data: [DONE]');
  expect(new Set(frames).size).toBe(frames.length);
  expect(shown(following)[0]).toMatchObject({ id, object: 'batch', status: 'validating' });
  expect(lastOf(following)).toMatchObject({
    ...{ status: 'completed', error_file_id: 'file-e', output_file_id: null },
    request_counts: { total: 2, completed: 0, failed: 2 },
  });
  await until(() => listeners() === 0);
});

it('of a batch that is over: one event, and the end', async () => {
  await batches.fail(id, [{ code: 'empty_file', message: 'empty', param: null, line: null }]);
  const following = follow(await ask());
  await following.ended;
  expect(framesOf(following)).toHaveLength(2);
  expect(shown(following)).toMatchObject([
    { status: 'failed', errors: { data: [{ code: 'empty_file' }] } },
  ]);
});

it.each([
  [ORIGIN, ORIGIN],
  ['https://evil.example', null],
])('may be read by pages of %s: %s', async (origin, allowed) => {
  await batches.cancel(tenantId, id);
  await batches.end(id, 'cancelled', {});
  const response = await fetch(`${gateway.url}/v1/batches/${id}/events`, {
    headers: { authorization: `Bearer ${KEY}`, origin },
  });
  expect(response.headers.get('access-control-allow-origin')).toBe(allowed);
  expect(await response.text()).toContain('"status":"cancelled"');
});

it('joins what changes fast', async () => {
  await batches.start(id, { total: 500, model: 'm' });
  const startMs = performance.now();
  const following = follow(await ask());
  for (let line = 0; line < 500; line += 1) await record(line);
  await batches.close(id);
  await batches.end(id, 'completed', {});
  await following.ended;
  expect(lastOf(following)).toMatchObject({ request_counts: { failed: 500 } });
  const seconds = (performance.now() - startMs) / 1000;
  expect(shown(following).length).toBeLessThanOrEqual(4 * seconds + 2);
});

it('fills silence with comments', async () => {
  const leaving = new AbortController();
  const following = follow(await ask(id, leaving));
  await until(() => (following.text.match(/^: keepalive$/gm) ?? []).length >= 2);
  expect(framesOf(following)).toHaveLength(1);
  leaving.abort();
  await following.ended;
  await until(() => listeners() === 0);
});

it('sees a change that it was not told of', async () => {
  const following = follow(await ask());
  await until(() => following.text.includes(': keepalive'));
  await redis.hset(batchChannel(id), 'status', 'cancelled', 'cancelledAt', '5');
  await following.ended;
  expect(lastOf(following)).toMatchObject({ status: 'cancelled', cancelled_at: 5 });
});

it('is nobody else’s', async () => {
  const missing = { status: 404, code: null, param: 'id', message: /^No such Batch object/ };
  await expectError(await ask(id, { key: OTHER_KEY }), missing);
  await expectError(await ask('batch_unknown'), missing);
  expect(listeners()).toBe(0);
});

it('forgets who leaves', async () => {
  const leaving = [new AbortController(), new AbortController(), new AbortController()];
  const readers = leaving.map(async ({ signal }) => follow(await ask(id, { signal })));
  const all = await Promise.all(readers);
  await until(() => all.every(({ text }) => text.includes('data:')));
  leaving[0]?.abort();
  leaving[1]?.abort();
  await batches.start(id, { total: 1, model: 'm' });
  await until(() =>
    all.every((each, index) => index < 2 || lastOf(each)?.status === 'in_progress'),
  );
  expect(listeners()).toBe(1);
  leaving[2]?.abort();
  await until(() => listeners() === 0);
  await Promise.all(all.map(({ ended }) => ended));
});

it('outlives a Redis that is away for a moment', async () => {
  const following = follow(await ask());
  await until(() => following.text.includes('data:'));
  await redis.call('CLIENT', 'PAUSE', '2500', 'ALL');
  // Waits until Redis is back.
  await new BatchStore(redis).cancel(tenantId, id);
  await batches.end(id, 'cancelled', {});
  await following.ended;
  expect(lastOf(following)).toMatchObject({ status: 'cancelled' });
});

it('cuts off who does not read', async () => {
  const narrow = await openTestGateway(server.url, {
    ...{ ...environment, WRITE_STALL_TIMEOUT_MS: '300' },
  });
  await narrow.runner.stop();
  // A store keeps no more of a batch than fits into the buffers of a connection: this is its record.
  const faults = Array.from({ length: 60_000 }, (_, line) => ({
    ...{ code: 'invalid_json_line', message: 'x'.repeat(100), param: null, line },
  }));
  await redis.hset(batchKey(id), 'faults', JSON.stringify(faults), 'status', 'failed');
  const socket = connect(narrow.port, '127.0.0.1');
  socket.write(
    `GET /v1/batches/${id}/events HTTP/1.1\r\nhost: a\r\nauthorization: Bearer ${KEY}\r\n\r\n`,
  );
  socket.pause();
  const closed = once(socket, 'close');
  socket.on('error', () => undefined);
  await until(async () => (await narrow.server.connectionCount()) === 1);
  await until(async () => (await narrow.server.connectionCount()) === 0);
  socket.resume();
  await closed;
  await narrow.close();
  expect(socket.bytesRead).toBeLessThan(6_000_000);
});

it('of a gateway that stops break off with an error', async () => {
  const stopping = await openTestGateway(server.url, environment);
  await stopping.runner.stop();
  const response = await fetch(`${stopping.url}/v1/batches/${id}/events`, {
    headers: { authorization: `Bearer ${KEY}` },
  });
  const following = follow(response);
  stopping.stopAccepting();
  await stopping.server.drain(stopping.context.watch, 20_000);
  await following.ended;
  const [, error, ...more] = framesOf(following);
  expect(error).toContain('"error":{"message":"The server is shutting down');
  expect(more).toEqual([]);
  await stopping.close();
});
