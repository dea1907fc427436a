import { once } from 'node:events';
import { type ServerResponse, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import { JOB_CATALOG } from '@antiphon/shared/jobs/job-catalog';
import { none } from '@antiphon/shared/players/none';
import { JobProducer } from '@antiphon/shared/queue/job-producer';
import { isAnswering, openRedis, whenReady } from '@antiphon/shared/queue/redis';
import { createLogger } from '@antiphon/shared/runtime/logger';
import { StreamLog } from '@antiphon/shared/streams/stream-log';
import { StreamSubscriber } from '@antiphon/shared/streams/stream-subscriber';
import { TenantStreams } from '@antiphon/shared/streams/tenant-streams';
import { openBatchNews } from '../batches/open-batch-news.ts';
import { parseConfig } from '../config.ts';
import type { GatewayContext, StreamContext } from '../gateway-context.ts';
import { WorkerDirectory } from '../models/worker-directory.ts';
import { openStores } from '../open-stores.ts';
import { openWatch } from '../open-watch.ts';
import { KeyRing } from '../tenants/key-ring.ts';
import { ClientConnection, ClientLeft } from './client-connection.ts';
import { type OpenStreamOptions, type OpenedStream, openStream } from './open-stream.ts';
import type { ResponseOptions } from './stream-response.ts';
import { startKeepers } from './stream-keepers.ts';

/** How one request of a test is answered. */
export interface AnswerPlan extends Partial<Omit<OpenStreamOptions, 'connection'>> {
  reply: (
    context: GatewayContext,
    opened: OpenedStream,
    response: ResponseOptions,
  ) => Promise<void>;
  /** Writes the stream, as workers would; runs beside the reply. */
  produce?: (streamId: string, opened: OpenedStream) => Promise<void>;
}

/** For tests: replies over real HTTP and a real Redis, without routes and workers. */
export interface ReplyFixture {
  context: GatewayContext;
  baseUrl: string;
  port: number;
  plan: (plan: AnswerPlan) => void;
  /** Of the last request. */
  opened: () => OpenedStream | undefined;
  close(): Promise<void>;
}

async function createContext(redisUrl: string, environment: NodeJS.ProcessEnv) {
  const onError = () => undefined;
  const redis = openRedis(redisUrl, { role: 'command', onError });
  const subscriberRedis = openRedis(redisUrl, { role: 'subscriber', onError });
  await whenReady(redis);
  const config = parseConfig({ ...environment, REDIS_URL: redisUrl });
  const logger = createLogger('gateway', 'fatal');
  const log = new StreamLog(redis);
  const tenantStreams = new TenantStreams(redis);
  const directory = new WorkerDirectory(redis, { aliases: [], defaults: {}, onError });
  await directory.start();
  const { watch, ...counted } = openWatch(
    { ...config, LOCK_DURATION_MS: 0, STALLED_INTERVAL_MS: 0 },
    { queue: redis, stream: redis },
    { log, directory, logger },
  );
  const subscriber = new StreamSubscriber(subscriberRedis, log);
  const batchesRedis = openRedis(redisUrl, { role: 'subscriber', onError });
  const connections = { queue: redis, batches: batchesRedis };
  const { news, closeNews } = openBatchNews(config, connections, logger);
  const jobs = new JobProducer(redis, onError);
  const stores = await openStores(redis, {
    ...config,
    DATA_DIR: join(tmpdir(), 'antiphon-test-data'),
  });
  const player = await none.createFrom({}, { concurrency: 1, warn: onError });
  const base: StreamContext = {
    ...{
      gatewayId: 'g1',
      config,
      keys: new KeyRing({ inline: [], file: undefined, logger }),
      ...counted,
      log,
      subscriber,
      ...news,
      jobs,
      directory,
      watch,
      ...stores,
      logger,
    },
    ...{ tenantStreams, player },
    redisReady: () => isAnswering(redis),
    accepting: () => true,
  };
  const context = startKeepers(base, redis);
  const close = async () => {
    await context.keepers.close();
    directory.close();
    watch.close();
    counted.admission.close();
    counted.depths.close();
    subscriber.close();
    await closeNews();
    await jobs.close();
    for (const connection of [redis, subscriberRedis, batchesRedis]) connection.disconnect();
  };
  return { context, close };
}

function sendError(outgoing: ServerResponse, thrown: unknown): void {
  if (thrown instanceof ClientLeft || outgoing.headersSent) {
    outgoing.destroy();
    return;
  }
  const error = VoiceError.from(thrown);
  outgoing.writeHead(error.definition.status, { 'content-type': 'application/json' });
  outgoing.end(JSON.stringify(error.toBody()));
}

export async function startReplyFixture(
  redisUrl: string,
  environment: NodeJS.ProcessEnv = {},
): Promise<ReplyFixture> {
  const { context, close } = await createContext(redisUrl, environment);
  let plan: AnswerPlan | undefined;
  let opened: OpenedStream | undefined;
  const answer = async (
    connection: ClientConnection,
    { reply, produce, ...options }: AnswerPlan,
  ) => {
    opened = await openStream(context, {
      tenantId: 'default',
      route: { queues: { llm: 'llm-test' }, firstStage: 'llm' },
      deadlines: JOB_CATALOG.chat.deadlines,
      opening: { kind: 'chat', model: 'm' },
      enqueue: async () => undefined,
      ...options,
      connection,
    });
    const { streamId } = opened;
    const received = { requestId: 'r1', receivedAtMs: performance.now() };
    const response = { connection, ...received, streamId, logger: context.logger };
    const producing = produce?.(streamId, opened).catch(() => undefined);
    try {
      await reply(context, opened, response);
    } finally {
      await opened.close();
      await producing;
    }
  };
  const server = createServer((_request, outgoing) => {
    const writeStallMs = context.config.WRITE_STALL_TIMEOUT_MS;
    const connection = new ClientConnection(outgoing, { writeStallMs });
    const answered = answer(connection, plan ?? { reply: async () => connection.destroy() });
    answered.catch((thrown: unknown) => sendError(outgoing, thrown));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    context,
    port,
    baseUrl: `http://127.0.0.1:${port}/`,
    plan: (next) => {
      plan = next;
    },
    opened: () => opened,
    async close() {
      server.closeAllConnections();
      server.close();
      await close();
    },
  };
}
