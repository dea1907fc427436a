import { randomUUID } from 'node:crypto';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { none } from '@antiphon/shared/players/none';
import { JobProducer } from '@antiphon/shared/queue/job-producer';
import {
  type ConnectionRole,
  isAnswering,
  openRedis,
  whenReady,
} from '@antiphon/shared/queue/redis';
import { createLogger } from '@antiphon/shared/runtime/logger';
import type { AudioPlayer } from '@antiphon/shared/services/audio-player';
import { subscribeControl } from '@antiphon/shared/streams/control-channel';
import { StreamLog } from '@antiphon/shared/streams/stream-log';
import { StreamSubscriber } from '@antiphon/shared/streams/stream-subscriber';
import { TenantStreams } from '@antiphon/shared/streams/tenant-streams';
import { createApp } from '../app.ts';
import { type BatchRunner, startBatchRunner } from '../batches/batch-runner.ts';
import { openBatchNews } from '../batches/open-batch-news.ts';
import { type GatewayConfig, parseConfig } from '../config.ts';
import type { GatewayContext, StreamContext } from '../gateway-context.ts';
import { GatewayLease } from '../gateway-lease.ts';
import { type ListeningServer, listen } from '../http-server.ts';
import { reportDrops } from '../metrics/dropped-connections.ts';
import { WorkerDirectory } from '../models/worker-directory.ts';
import { openStores } from '../open-stores.ts';
import { openWatch } from '../open-watch.ts';
import { startKeepers } from '../replies/stream-keepers.ts';
import { KeyRing } from '../tenants/key-ring.ts';

export interface TestGateway {
  port: number;
  /** `http://127.0.0.1:<port>` */
  url: string;
  context: GatewayContext;
  runner: BatchRunner;
  server: ListeningServer;
  app: ReturnType<typeof createApp>;
  /** Makes the gateway take no more requests, as SIGTERM does first. */
  stopAccepting(): void;
  /** Names of what lies in the blob store. */
  blobNames(): Promise<string[]>;
  /** Keys in Redis that jobs and streams leave; empty while nothing was ever queued. */
  queuedKeys(): Promise<string[]>;
  close(): Promise<void>;
}

export interface TestGatewayOptions {
  /** Heard by nobody unless told. */
  player?: AudioPlayer;
}

const onError = () => undefined; // a test that stops Redis sees its connections break

/** The gateway as `main.ts` composes it, in this process, on a free port. */
export async function openTestGateway(
  redisUrl: string,
  environment: NodeJS.ProcessEnv = {},
  { player }: TestGatewayOptions = {},
): Promise<TestGateway> {
  const dataDirectory = await mkdtemp(join(tmpdir(), 'antiphon-gateway-'));
  let accepting = true;
  const { context, redis, close } = await openContext(
    parseConfig({ REDIS_URL: redisUrl, DATA_DIR: dataDirectory, ...environment }),
    {
      accepting: () => accepting,
      player: player ?? (await none.createFrom({}, { concurrency: 1, warn: onError })),
    },
  );
  const runner = startBatchRunner(context, redis);
  const app = createApp(context);
  const server = await listen(app, {
    ...{ port: 0, host: '127.0.0.1', maxConnections: context.config.MAX_CONNECTIONS },
    onDrop: reportDrops(context.metrics, context.logger),
  });
  return {
    port: server.port,
    url: `http://127.0.0.1:${server.port}`,
    ...{ context, runner, server, app },
    stopAccepting() {
      accepting = false;
    },
    blobNames: () => readdir(join(dataDirectory, 'blobs')),
    async queuedKeys() {
      const keys = await redis.keys('*');
      return keys.filter((key) => key.startsWith('antiphon:{') || /^bull:.*:id$/.test(key));
    },
    async close() {
      await runner.close();
      await server.drain(context.watch, 0);
      await context.player.close();
      await close();
      await rm(dataDirectory, { recursive: true, force: true });
    },
  };
}

type Given = Pick<GatewayContext, 'accepting' | 'player'>;

async function openConnections(url: string) {
  const open = (role: ConnectionRole) => openRedis(url, { role, onError });
  const [queue, stream] = [open('command'), open('command')];
  await Promise.all([whenReady(queue), whenReady(stream)]);
  return { queue, stream, subscriber: open('subscriber'), batches: open('subscriber') };
}

async function openContext(config: GatewayConfig, given: Given) {
  const logger = createLogger('gateway', 'silent');
  const connections = await openConnections(config.REDIS_URL);
  const { queue: queueRedis, stream: streamRedis } = connections;
  const keys = new KeyRing({ inline: config.API_KEYS, file: config.API_KEYS_FILE, logger });
  const gatewayId = randomUUID();
  const log = new StreamLog(streamRedis);
  const tenantStreams = new TenantStreams(streamRedis);
  const directory = new WorkerDirectory(streamRedis, {
    aliases: config.MODEL_ALIASES,
    defaults: {
      llm: config.DEFAULT_CHAT_MODEL,
      tts: config.DEFAULT_SPEECH_MODEL,
      stt: config.DEFAULT_TRANSCRIPTION_MODEL,
    },
    onError,
  });
  const { watch, ...counted } = openWatch(config, connections, { log, directory, logger });
  const subscriber = new StreamSubscriber(connections.subscriber, log);
  const { news, closeNews } = openBatchNews(config, connections, logger);
  const jobs = new JobProducer(queueRedis, onError);
  const stores = await openStores(queueRedis, config);
  const lease = new GatewayLease(streamRedis, gatewayId, onError);
  await Promise.all([lease.start(), directory.start()]);
  await subscribeControl(connections.subscriber, ({ type }) => {
    if (type === 'worker-change') void directory.refresh();
  });
  const base: StreamContext = {
    ...{
      gatewayId,
      config,
      keys,
      ...counted,
      log,
      subscriber,
      ...news,
      jobs,
      directory,
      watch,
      logger,
      tenantStreams,
    },
    ...stores,
    ...given,
    redisReady: () => isAnswering(streamRedis) && isAnswering(queueRedis),
  };
  const context = startKeepers(base, streamRedis);
  const close = async () => {
    await context.keepers.close();
    keys.close();
    const { admission, depths } = counted;
    for (const open of [directory, watch, admission, depths, subscriber]) open.close();
    await lease.release();
    await closeNews();
    await jobs.close().catch(onError);
    for (const redis of Object.values(connections)) redis.disconnect();
  };
  return { context, redis: streamRedis, close };
}
