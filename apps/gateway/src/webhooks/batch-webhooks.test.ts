import { once } from 'node:events';
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import type { BatchRecord } from '@antiphon/shared/batches/batch-record';
import { openRedis, whenReady } from '@antiphon/shared/queue/redis';
import { createLogger } from '@antiphon/shared/runtime/logger';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { until } from '@antiphon/testing/until';
import OpenAI, { toFile } from 'openai';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { parseConfig } from '../config.ts';
import { openTestGateway } from '../testing/test-gateway.ts';
import { type BatchWebhooks, openBatchWebhooks } from './batch-webhooks.ts';
import { describeEnd } from './webhook-event.ts';

interface Delivery {
  headers: IncomingHttpHeaders;
  body: string;
}

const SECRET = `whsec_${Buffer.from('a secret of 24 bytes, ok').toString('base64')}`;
const client = new OpenAI({ apiKey: 'unused', webhookSecret: SECRET });

let server: RedisServer;
let redis: ReturnType<typeof openRedis>;
/** The operator's: answers by the script, then 204. A status of 0 never answers. */
let receiver: Server;
let script: (number | { status: number; location: string })[];
let deliveries: Delivery[];
let patients: ReturnType<typeof openRedis>[];
let opened: BatchWebhooks[];
let lines: string;

beforeAll(async () => {
  server = await startRedis();
  redis = openRedis(server.url, { role: 'command', onError: () => undefined });
  await whenReady(redis);
  receiver = createServer((incoming, outgoing) => {
    void receive(incoming, outgoing);
  });
  await once(receiver.listen(0, '127.0.0.1'), 'listening');
});
beforeEach(async () => {
  await redis.flushall();
  [script, deliveries, patients, opened, lines] = [[], [], [], [], ''];
});
afterEach(async () => {
  await Promise.all(opened.map(async (webhooks) => webhooks.close()));
});
afterAll(async () => {
  receiver.closeAllConnections();
  receiver.close();
  redis.disconnect();
  await server.close();
});

async function receive(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
  const body = await buffer(incoming);
  deliveries.push({ headers: incoming.headers, body: body.toString() });
  const next = script.shift() ?? 204;
  const { status, ...headers } = typeof next === 'number' ? { status: next } : next;
  if (status > 0) outgoing.writeHead(status, headers).end('{}');
}

const portOf = (listening: Server) => (listening.address() as AddressInfo).port;

function open(environment: NodeJS.ProcessEnv = {}): BatchWebhooks {
  const log = (...given: unknown[]) => {
    lines += JSON.stringify(given);
  };
  const webhooks = openBatchWebhooks({
    config: parseConfig({
      BATCH_WEBHOOK_URL: `http://127.0.0.1:${portOf(receiver)}/hook?token=private`,
      BATCH_WEBHOOK_SECRET: SECRET,
      ...{ LOCK_DURATION_MS: '1000', STALLED_INTERVAL_MS: '500', ...environment },
    }),
    redis,
    openPatient() {
      const patient = openRedis(server.url, { role: 'patient', onError: () => undefined });
      patients.push(patient);
      return patient;
    },
    logger: { info: log, warn: log, error: log },
    ...{ firstRetryMs: 1, timeoutMs: 300 },
  });
  opened.push(webhooks);
  return webhooks;
}

function batchOf(given: Partial<BatchRecord> = {}): BatchRecord {
  return {
    ...{ id: 'batch_0123456789abcdef', tenantId: 'one', endpoint: '/v1/audio/speech' },
    ...{ inputFileId: 'file-in', completionWindow: '24h', outputLifeSeconds: 60 },
    ...{ status: 'completed', total: 1, completed: 1, failed: 0 },
    ...{ createdAt: 1_700_000_000, expiresAt: 1_700_086_400, completedAt: 1_700_000_100 },
    ...given,
  };
}
const unwrap = ({ headers, body }: Delivery) =>
  client.webhooks.unwrap(body, new Headers(headers as Record<string, string>));
const first = () => deliveries[0] ?? expect.unreachable('nothing was delivered');

it('tells how a batch ended, so that the SDK of OpenAI believes it', async () => {
  await open().announceEnd(batchOf());
  await until(() => deliveries.length === 1);
  expect(await unwrap(first())).toEqual({
    ...{ id: 'evt_0123456789abcdef', object: 'event', type: 'batch.completed' },
    ...{ created_at: 1_700_000_100, data: { id: 'batch_0123456789abcdef' } },
  });
  expect(first().headers).toMatchObject({
    ...{ 'content-type': 'application/json', 'webhook-id': 'evt_0123456789abcdef' },
  });
  await until(() => lines.includes('webhook delivered'));
});

it.each([
  ['the body', (given: Delivery) => ({ ...given, body: given.body.replace('0123', '3210') })],
  [
    'its time',
    (given: Delivery) => withHeader(given, 'webhook-timestamp', String(nowSeconds() - 1)),
  ],
  ['its id', (given: Delivery) => withHeader(given, 'webhook-id', 'evt_other')],
])('a delivery is not believed when %s was changed', async (_name, change) => {
  await open().announceEnd(batchOf());
  await until(() => deliveries.length === 1);
  await expect(unwrap(change(first()))).rejects.toThrow('signature');
});
const nowSeconds = () => Math.floor(Date.now() / 1000);
const withHeader = ({ headers, body }: Delivery, name: string, value: string) => ({
  headers: { ...headers, [name]: value },
  body,
});

it('takes a plain text for a secret as well', async () => {
  const BATCH_WEBHOOK_SECRET = 'a plain secret!!'.replaceAll(' ', '-');
  await open({ BATCH_WEBHOOK_SECRET }).announceEnd(batchOf());
  await until(() => deliveries.length === 1);
  const { headers, body } = first();
  await client.webhooks.verifySignature(
    body,
    new Headers(headers as Record<string, string>),
    BATCH_WEBHOOK_SECRET,
  );
  await expect(unwrap(first())).rejects.toThrow('signature');
});

it('tries again until a 2xx, with the same id and body', async () => {
  const elsewhere = `http://127.0.0.1:${portOf(receiver)}/elsewhere`;
  script = [500, { status: 307, location: elsewhere }, 0, 410];
  await open().announceEnd(batchOf());
  await until(() => lines.includes('webhook delivered'));
  expect(deliveries).toHaveLength(5);
  expect(new Set(deliveries.map(({ headers }) => headers['webhook-id'])).size).toBe(1);
  expect(new Set(deliveries.map(({ body }) => body)).size).toBe(1);
  for (const delivery of deliveries)
    expect(await unwrap(delivery)).toMatchObject({ object: 'event' });
  for (const reason of ['status 500', 'status 307', 'in time', 'status 410']) {
    expect(lines).toContain(reason);
  }
});

it('gives up after twelve attempts, and tells it', async () => {
  script = Array.from({ length: 20 }, () => 503);
  await open().announceEnd(batchOf());
  await until(() => lines.includes('webhook given up'), { timeoutMs: 40_000 });
  expect(deliveries).toHaveLength(12);
  expect(await redis.zcard('bull:webhooks:failed')).toBe(1);
});

it('tells an end once, however often and by whomever it is announced', async () => {
  const [one, two] = [open(), open()];
  await Promise.all([one.announceEnd(batchOf()), two.announceEnd(batchOf())]);
  await until(() => lines.includes('webhook delivered'));
  await one.announceEnd(batchOf());
  await one.announceEnd(batchOf({ id: 'batch_other' }));
  await until(() => deliveries.length === 2);
  expect(deliveries.map(({ headers }) => headers['webhook-id'])).toEqual([
    'evt_0123456789abcdef',
    'evt_other',
  ]);
});

it('is told by another gateway when the first one stops in the middle', async () => {
  script = [0];
  const stopped = open();
  await stopped.announceEnd(batchOf());
  await until(() => deliveries.length === 1);
  await stopped.close();
  expect(lines).not.toContain('webhook delivered');
  open();
  await until(() => lines.includes('webhook delivered'));
  expect(deliveries).toHaveLength(2);
});

it('is told by another gateway when the first one is cut off from Redis', async () => {
  script = [0];
  await open({ LOCK_DURATION_MS: '500' }).announceEnd(batchOf());
  await until(() => deliveries.length === 1);
  patients[0]?.disconnect();
  open();
  await until(() => lines.includes('webhook delivered'), { timeoutMs: 10_000 });
  expect(deliveries).toHaveLength(2);
});

it('is told by the gateway that runs the batch', async () => {
  const gateway = await openTestGateway(server.url, {
    BATCH_WEBHOOK_URL: `http://127.0.0.1:${portOf(receiver)}/hook`,
    BATCH_WEBHOOK_SECRET: SECRET,
  });
  const openai = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: 'none', maxRetries: 0 });
  const file = await toFile(Buffer.from('no json'), 'lines.jsonl');
  const { id: input } = await openai.files.create({ purpose: 'batch', file });
  const { id } = await openai.batches.create({
    ...{ input_file_id: input, endpoint: '/v1/chat/completions', completion_window: '24h' },
  });
  await until(() => deliveries.length === 1);
  expect(await unwrap(first())).toMatchObject({ type: 'batch.failed', data: { id } });
  await gateway.close();
});

it('never logs where it calls, nor the secret', async () => {
  script = [500];
  await open().announceEnd(batchOf());
  await until(() => lines.includes('webhook delivered'));
  expect(lines).not.toContain('private');
  expect(lines).not.toContain(SECRET.slice(6));
  const stored = await redis.hgetall('bull:webhooks:batch_0123456789abcdef');
  expect(JSON.stringify(stored)).not.toMatch(/private|whsec/);
});

it('does nothing without a receiver', async () => {
  await open({ BATCH_WEBHOOK_URL: '' }).announceEnd(batchOf());
  expect(await redis.keys('bull:*')).toEqual([]);
  expect(patients).toEqual([]);
});

it('says that it could not announce while Redis is away', async () => {
  const away = openRedis('redis://127.0.0.1:1', { role: 'command', onError: () => undefined });
  const webhooks = openBatchWebhooks({
    config: parseConfig({
      BATCH_WEBHOOK_URL: 'http://127.0.0.1:1/',
      BATCH_WEBHOOK_SECRET: SECRET,
    }),
    redis: away,
    openPatient: () => openRedis(server.url, { role: 'patient', onError: () => undefined }),
    logger: createLogger('gateway', 'silent'),
  });
  await expect(webhooks.announceEnd(batchOf())).rejects.toMatchObject({
    code: 'queue_unavailable',
  });
  away.disconnect();
  await webhooks.close();
});

describe('the event', () => {
  it.each([
    ['completed', { completedAt: 5 }],
    ['failed', { failedAt: 5 }],
    ['expired', { expiredAt: 5 }],
    ['cancelled', { cancelledAt: 5 }],
  ] as const)('of a batch that is %s', (status, times) => {
    const event = describeEnd(batchOf({ status, completedAt: undefined, ...times }));
    expect(event).toMatchObject({ type: `batch.${status}`, created_at: 5 });
  });

  it.each(['validating', 'in_progress', 'finalizing', 'cancelling'] as const)(
    'is none while it is %s',
    (status) => {
      expect(describeEnd(batchOf({ status }))).toBeUndefined();
    },
  );
});
