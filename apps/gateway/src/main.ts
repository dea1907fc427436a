import { randomUUID } from 'node:crypto';
import { warmAudioEncoders } from '@antiphon/shared/audio/create-audio-encoder';
import { audioPlayers } from '@antiphon/shared/players/index';
import { JobProducer } from '@antiphon/shared/queue/job-producer';
import { isAnswering, openConnections, openRedis, whenReady } from '@antiphon/shared/queue/redis';
import { createEngine } from '@antiphon/shared/runtime/create-engine';
import { type Logger, createLogger } from '@antiphon/shared/runtime/logger';
import { collectProcessMetrics, countReconnects } from '@antiphon/shared/runtime/metrics';
import { type RunningProcess, runProcess } from '@antiphon/shared/runtime/run-process';
import { within } from '@antiphon/shared/runtime/within';
import { subscribeControl } from '@antiphon/shared/streams/control-channel';
import { StreamLog } from '@antiphon/shared/streams/stream-log';
import { StreamSubscriber } from '@antiphon/shared/streams/stream-subscriber';
import { TenantStreams } from '@antiphon/shared/streams/tenant-streams';
import type { Redis } from 'ioredis';
import { createApp } from './app.ts';
import { startBatchRunner } from './batches/batch-runner.ts';
import { openBatchNews } from './batches/open-batch-news.ts';
import { type GatewayConfig, environment, readConfig } from './config.ts';
import { GatewayLease } from './gateway-lease.ts';
import { listen } from './http-server.ts';
import { WorkerDirectory } from './models/worker-directory.ts';
import { openStores } from './open-stores.ts';
import { openWatch } from './open-watch.ts';
import { reportDrops } from './metrics/dropped-connections.ts';
import { startKeepers } from './replies/stream-keepers.ts';
import { startSweeper } from './store-sweeper.ts';
import { KeyRing } from './tenants/key-ring.ts';

/** On the way out. */
const REDIS_WAIT_MS = 250;

type OnError = (error: Error) => void;

function openDirectory(redis: Redis, config: GatewayConfig, onError: OnError): WorkerDirectory {
  const defaults = {
    llm: config.DEFAULT_CHAT_MODEL,
    tts: config.DEFAULT_SPEECH_MODEL,
    stt: config.DEFAULT_TRANSCRIPTION_MODEL,
  };
  return new WorkerDirectory(redis, { aliases: config.MODEL_ALIASES, defaults, onError });
}

const openKeys = (config: GatewayConfig, logger: Logger) =>
  new KeyRing({ inline: config.API_KEYS, file: config.API_KEYS_FILE, logger });

async function openPlayer({ AUDIO_PLAYER: name }: GatewayConfig, logger: Logger) {
  const chosen = { name, variable: 'AUDIO_PLAYER' };
  return (await createEngine(audioPlayers, chosen, environment, { CONCURRENCY: 1, logger }))
    .service;
}

async function start(): Promise<RunningProcess> {
  const config = readConfig();
  const logger = createLogger('gateway', config.LOG_LEVEL);
  const keys = openKeys(config, logger);
  const onError = (error: Error) => logger.warn({ err: error }, 'redis');
  const opened = await openConnections(config, 'command', logger);
  const batches = openRedis(config.REDIS_URL, { role: 'subscriber', onError });
  const connections = { ...opened, batches };
  const { queue: queueRedis, stream: streamRedis, subscriber: subscriberRedis } = connections;
  const gatewayId = randomUUID();
  const log = new StreamLog(streamRedis);
  const tenantStreams = new TenantStreams(streamRedis);
  const directory = openDirectory(streamRedis, config, onError);
  const { watch, ...counted } = openWatch(config, connections, { log, directory, logger });
  collectProcessMetrics(counted.metrics.registry);
  countReconnects(counted.metrics.registry, connections);
  const subscriber = new StreamSubscriber(subscriberRedis, log);
  const { news, closeNews } = openBatchNews(config, connections, logger);
  const jobs = new JobProducer(queueRedis, onError);
  const stores = await openStores(queueRedis, config);
  const lease = new GatewayLease(streamRedis, gatewayId, onError);
  const player = await openPlayer(config, logger);
  let accepting = true;

  await Promise.all([whenReady(queueRedis), whenReady(streamRedis)]);
  await Promise.all([lease.start(), directory.start(), warmAudioEncoders()]);
  await subscribeControl(subscriberRedis, ({ type }) => {
    if (type === 'worker-change') void directory.refresh();
  });
  const stopSweeper = startSweeper(stores, queueRedis, logger);

  const base = {
    ...{ gatewayId, config, keys, ...counted, log, subscriber, jobs, directory, watch },
    ...{ ...stores, ...news, tenantStreams, player, logger },
    redisReady: () => isAnswering(streamRedis) && isAnswering(queueRedis),
    accepting: () => accepting,
  };
  const context = startKeepers(base, streamRedis);
  const runner = startBatchRunner(context, streamRedis);
  const server = await listen(createApp(context), {
    ...{ port: config.PORT, host: config.HOST, maxConnections: config.MAX_CONNECTIONS },
    onDrop: reportDrops(counted.metrics, logger),
  });
  logger.info({ url: `http://${config.HOST}:${server.port}`, gatewayId }, 'ready');

  return {
    closeWithinMs: config.SHUTDOWN_DRAIN_MS + 5000,
    async close() {
      accepting = false;
      await Promise.all([runner.close(), server.drain(watch, config.SHUTDOWN_DRAIN_MS)]);
      await player.close();
      // A Redis that is away is not waited for, here and below.
      await within(REDIS_WAIT_MS, context.keepers.close());
      stopSweeper();
      const { admission, depths } = counted;
      for (const open of [keys, directory, watch, admission, depths, subscriber]) open.close();
      await closeNews();
      await within(REDIS_WAIT_MS, Promise.all([lease.release(), jobs.close()]));
      for (const redis of Object.values(connections)) redis.disconnect();
    },
  };
}

await runProcess('gateway', start);
