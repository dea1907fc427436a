import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createBatchId } from '@antiphon/shared/batches/batch-key';
import { BatchStore } from '@antiphon/shared/batches/batch-store';
import { LineProducer } from '@antiphon/shared/batches/line-producer';
import type { BatchLineJob } from '@antiphon/shared/jobs/batch-line-job';
import { JobProducer } from '@antiphon/shared/queue/job-producer';
import { openRedis } from '@antiphon/shared/queue/redis';
import { startStageWorker, workerConfig } from '@antiphon/shared/queue/stage-worker';
import { createEngine } from '@antiphon/shared/runtime/create-engine';
import { createLogger } from '@antiphon/shared/runtime/logger';
import { openDiskBlobStore } from '@antiphon/shared/storage/blob-store';
import { TranscriptStore } from '@antiphon/shared/storage/transcript-store';
import { gatewayKey } from '@antiphon/shared/streams/stream-key';
import { StreamLog } from '@antiphon/shared/streams/stream-log';
import { type OpenAIServer, startOpenAIServer } from '@antiphon/testing/openai-server';
import { type RedisServer, startRedis } from '@antiphon/testing/redis';
import { until } from '@antiphon/testing/until';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { z } from 'zod';
import { createChatHandler } from './chat-handler.ts';
import { createChatLineHandler } from './chat-line-handler.ts';
import { llmEngines } from './engines/index.ts';

const logger = createLogger('llm-worker', 'silent');
const LINES = 20;
const LINE = 'a line';

let server: RedisServer;
let redis: ReturnType<typeof openRedis>;
let directory: string;
let upstream: OpenAIServer;
let worker: { close(): Promise<void> } | undefined;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'antiphon-beside-'));
  server = await startRedis();
  redis = openRedis(server.url, { role: 'patient', onError: () => undefined });
});
beforeEach(async () => {
  await redis.flushall();
  upstream = await startOpenAIServer({ models: ['m'] });
  // Lines are never answered: whatever place one has it keeps.
  upstream.script({ when: ({ rawBody }) => isLine(rawBody), fault: { type: 'no-headers' } });
});
afterEach(async () => {
  await worker?.close();
  worker = undefined;
  await upstream.close();
});
afterAll(async () => {
  redis.disconnect();
  await server.close();
  await rm(directory, { recursive: true });
});

const isLine = (body: Buffer) => body.includes(LINE);
const linesAtUpstream = () => upstream.requests.filter(({ rawBody }) => isLine(rawBody)).length;
const requestOf = (content: string) =>
  JSON.stringify({ model: 'm', messages: [{ role: 'user', content }] });

async function startWorker(environment: NodeJS.ProcessEnv = {}): Promise<void> {
  const config = z.object(workerConfig).parse({
    ...{ REDIS_URL: server.url, SHUTDOWN_DRAIN_MS: '1', DATA_DIR: directory, ...environment },
  });
  const { service, ...places } = await createEngine(
    llmEngines,
    { name: 'openai', variable: 'AI_SERVICE' },
    { OPENAI_BASE_URL: upstream.baseUrl },
    { ...config, logger },
  );
  const blobs = await openDiskBlobStore(join(directory, 'blobs'));
  worker = await startStageWorker({
    ...{ stage: 'llm', kind: 'chat', engineName: 'openai', config, ...places, logger },
    announce: (signal) => service.listModels(signal),
    createHandler: ({ log, jobs, redis: queueRedis }) =>
      createChatHandler({
        ...{ service, blobs, log, jobs, logger },
        transcripts: new TranscriptStore(queueRedis),
      }),
    createLineHandler: ({ fileBlobs }) => createChatLineHandler({ service, fileBlobs }),
    closeEngine: () => service.close(),
  });
}

async function startBatch(): Promise<void> {
  const batches = new BatchStore(redis);
  const batchId = createBatchId();
  await batches.create({
    ...{ id: batchId, tenantId: 't', endpoint: '/v1/chat/completions', inputFileId: 'file-in' },
    ...{ completionWindow: '24h', windowSeconds: 3600, outputLifeSeconds: 60 },
  });
  await batches.start(batchId, { total: LINES, model: 'm' });
  const lines = Array.from({ length: LINES }, (_, line): BatchLineJob => ({
    ...{ version: 1, batchId, line, tenantId: 't', model: 'm' },
    work: { type: 'chat', choiceCount: 1, requestJson: requestOf(LINE) },
  }));
  const producer = new LineProducer(redis, () => undefined);
  await producer.enqueue('llm-openai-batch', lines);
  await producer.close();
}

/** Resolves when it is answered. */
async function chat(): Promise<void> {
  const log = new StreamLog(redis);
  const jobs = new JobProducer(redis, () => undefined);
  await redis.set(gatewayKey('g1'), '1');
  const streamId = await log.open({
    ...{ tenantId: 't', gatewayId: 'g1', kind: 'chat', model: 'm', queueName: 'llm-openai' },
    ...{ maxLogBytes: 1e7, ttlMs: 60_000, logTtlMs: 30_000 },
  });
  const job = { version: 1 as const, streamId, tenantId: 't', gatewayId: 'g1', model: 'm' };
  await jobs.enqueue(
    'llm-openai',
    'chat',
    { ...job, stream: false, choiceCount: 1, requestJson: requestOf('somebody waits') },
    { jobId: streamId },
  );
  await until(
    async () => {
      const { entries } = await log.read(streamId, 1, 1000);
      return entries.at(-1)?.event.type === 'text-end';
    },
    { what: 'the answer' },
  );
  await jobs.close();
}

it('few lines of a batch stand at the upstream, and a chat beside them is answered', async () => {
  await startWorker();
  await startBatch();
  await until(() => linesAtUpstream() === 4);
  await chat();
  expect(linesAtUpstream()).toBe(4);
});

it('as many as the operator says do', async () => {
  await startWorker({ BATCH_CONCURRENCY: '9' });
  await startBatch();
  await until(() => linesAtUpstream() === 9);
  await chat();
  expect(linesAtUpstream()).toBe(9);
});
