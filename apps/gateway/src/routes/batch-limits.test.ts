import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { until } from '@antiphon/testing/until';
import OpenAI, { toFile } from 'openai';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { type TestGateway, openTestGateway } from '../testing/test-gateway.ts';

let server: RedisServer;
let gateway: TestGateway | undefined;

beforeAll(async () => {
  server = await startRedis();
});
afterEach(async () => {
  await gateway?.close();
});
afterAll(() => server.close());

async function openClient(key: string, environment: NodeJS.ProcessEnv): Promise<OpenAI> {
  gateway = await openTestGateway(server.url, { API_KEYS: key, ...environment });
  return new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: key, maxRetries: 0 });
}

/** No worker is there: it goes on until it is stopped. */
async function createBatch(client: OpenAI): Promise<OpenAI.Batch> {
  const line = { custom_id: '1', method: 'POST', url: '/v1/chat/completions' };
  const messages = [{ role: 'user', content: 'Hello' }];
  const lines = Buffer.from(JSON.stringify({ ...line, body: { model: 'm', messages } }));
  const sent = await client.files.create({
    ...{ purpose: 'batch', file: await toFile(lines, 'lines.jsonl') },
  });
  return client.batches.create({
    ...{ input_file_id: sent.id, endpoint: '/v1/chat/completions', completion_window: '24h' },
  });
}

it('a tenant has as many batches open as it may, and one more when one is over', async () => {
  const client = await openClient('busy-key-0123456789', { MAX_OPEN_BATCHES: '2' });
  const [first] = [await createBatch(client), await createBatch(client)];
  await expect(createBatch(client)).rejects.toMatchObject({
    ...{ status: 429, code: 'rate_limit_exceeded', type: 'requests' },
    message: expect.stringContaining('Rate limit reached for open batches. Limit 2, Used 2'),
  });
  await client.batches.cancel(first.id);
  await until(async () => {
    const { status } = await client.batches.retrieve(first.id);
    return status === 'cancelled';
  });
  await until(async () => createBatch(client).catch(() => undefined));
  expect((await client.batches.list()).data).toHaveLength(3);
});

it('a key that has asked as often as it may can cancel its batches', async () => {
  const client = await openClient('limited-key-0123456789', {
    RATE_LIMIT_REQUESTS_PER_MINUTE: '2',
  });
  const { id } = await createBatch(client);
  await expect(client.batches.retrieve(id)).rejects.toMatchObject({ status: 429 });
  expect((await client.batches.cancel(id)).status).toBe('cancelling');
  const batch = () => gateway?.context.batches.find(id);
  await until(async () => (await batch())?.status === 'cancelled');
});
