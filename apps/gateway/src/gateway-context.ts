import type { HttpBindings } from '@hono/node-server';
import type { BatchStore } from '@antiphon/shared/batches/batch-store';
import type { FileIndex } from '@antiphon/shared/files/file-index';
import type { JobProducer } from '@antiphon/shared/queue/job-producer';
import type { Logger } from '@antiphon/shared/runtime/logger';
import type { AudioPlayer } from '@antiphon/shared/services/audio-player';
import type { BlobStore } from '@antiphon/shared/storage/blob-store';
import type { SpokenAnswerStore } from '@antiphon/shared/storage/spoken-answer-store';
import type { TranscriptStore } from '@antiphon/shared/storage/transcript-store';
import type { IdempotencyKeys } from '@antiphon/shared/streams/idempotency';
import type { StreamLog } from '@antiphon/shared/streams/stream-log';
import type { StreamSubscriber } from '@antiphon/shared/streams/stream-subscriber';
import type { TenantStreams } from '@antiphon/shared/streams/tenant-streams';
import type { Redis } from 'ioredis';
import type { BatchSubscriber } from './batches/batch-subscriber.ts';
import type { GatewayConfig } from './config.ts';
import type { WorkerDirectory } from './models/worker-directory.ts';
import type { GatewayMetrics } from './metrics/gateway-metrics.ts';
import type { KeyLimits } from './tenants/key-list.ts';
import type { KeyRing } from './tenants/key-ring.ts';
import type { QueueDepths } from './tenants/queue-depths.ts';
import type { RateLimits } from './tenants/rate-limits.ts';
import type { StreamAdmission } from './tenants/stream-admission.ts';
import type { StreamKeepers } from './replies/stream-keepers.ts';
import type { StreamWatch } from './replies/stream-watch.ts';
import type { BatchWebhooks } from './webhooks/batch-webhooks.ts';

/** What routes and replies are built from; one per process. */
export interface GatewayContext {
  gatewayId: string;
  config: GatewayConfig;
  /** Who may ask. */
  keys: KeyRing;
  metrics: GatewayMetrics;
  rates: RateLimits;
  admission: StreamAdmission;
  depths: QueueDepths;
  /** The queues'. */
  queueRedis: Redis;
  log: StreamLog;
  subscriber: StreamSubscriber;
  /** Over the log's connection. */
  tenantStreams: TenantStreams;
  jobs: JobProducer;
  directory: WorkerDirectory;
  watch: StreamWatch;
  /** Streams that go on without their client. */
  keepers: StreamKeepers;
  /** Over the log's connection. */
  idempotency: IdempotencyKeys;
  blobs: BlobStore;
  transcripts: TranscriptStore;
  spokenAnswers: SpokenAnswerStore;
  /** Of clients, and of batches: what is known of them, and their bytes. */
  files: FileIndex;
  fileBlobs: BlobStore;
  batches: BatchStore;
  batchSubscriber: BatchSubscriber;
  webhooks: BatchWebhooks;
  /** Where the voice assistant's answers are heard. */
  player: AudioPlayer;
  logger: Logger;
  /** Whether Redis takes commands, and answered within 3 s. */
  redisReady: () => boolean;
  /** False once the process is told to stop. */
  accepting: () => boolean;
}

/** What is there before anything is kept. */
export type StreamContext = Omit<GatewayContext, 'keepers' | 'idempotency'>;

/** Hono's types of every route: Node's request and response, and what middleware found out. */
export interface GatewayEnv {
  Bindings: HttpBindings;
  Variables: {
    requestId: string;
    receivedAtMs: number;
    tenantId: string;
    limits: KeyLimits;
    /** Rejects when the request is one too many for its key; whoever opens a stream waits for it. */
    counted: Promise<void> | undefined;
  };
}
