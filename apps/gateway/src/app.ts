import { VoiceError } from '@antiphon/shared/errors/voice-error';
import { OpenAPIHono } from '@hono/zod-openapi';
import type { MiddlewareHandler } from 'hono';
import { cors } from 'hono/cors';
import type { GatewayContext, GatewayEnv } from './gateway-context.ts';
import { adminKey } from './middleware/admin-key.ts';
import { apiKey } from './middleware/api-key.ts';
import { errorReply, unknownRoute } from './middleware/error-reply.ts';
import { foreignPages } from './middleware/foreign-pages.ts';
import { rateLimit } from './middleware/rate-limit.ts';
import { redisBack } from './middleware/redis-back.ts';
import { requestId } from './middleware/request-id.ts';
import { requestLog } from './middleware/request-log.ts';
import { requestMetrics } from './middleware/request-metrics.ts';
import { streamedHeaders } from './middleware/streamed-headers.ts';
import { assistant } from './routes/assistant.ts';
import { audioSpeech } from './routes/audio-speech.ts';
import { audioTranscriptions } from './routes/audio-transcriptions.ts';
import { batchEvents } from './routes/batch-events.ts';
import { batchById, batchCancel, batchCreate, batchList } from './routes/batches.ts';
import { chatCompletions } from './routes/chat-completions.ts';
import { addDocs } from './routes/docs.ts';
import { fileContent } from './routes/file-content.ts';
import { fileById, fileDelete, fileList, fileUpload } from './routes/files.ts';
import { health, live, ready } from './routes/health.ts';
import { metricsText } from './routes/metrics.ts';
import { queueList } from './routes/queues.ts';
import { audioModelList, modelById, modelList, voiceList } from './routes/models.ts';
import { streamAudio } from './routes/stream-audio.ts';
import { streamEvents } from './routes/stream-events.ts';
import {
  stopAll,
  stopOne,
  streamById,
  streamCancel,
  streamCancelAll,
  streamList,
} from './routes/streams.ts';

/** What browsers' SDKs send and want to read (contract, section 10). */
const CORS_HEADERS = {
  allowHeaders: [
    ...['authorization', 'x-api-key', 'content-type', 'idempotency-key', 'x-client-request-id'],
    ...['openai-organization', 'openai-project', 'openai-beta'],
    ...['x-stream-resume', 'last-event-id', 'range', 'if-range'],
    ...['lang', 'package-version', 'os', 'arch', 'runtime', 'runtime-version', 'retry-count']
      .concat('timeout', 'async', 'read-timeout', 'helper-method', 'custom-poll-interval')
      .map((name) => `x-stainless-${name}`),
  ],
  exposeHeaders: [
    ...['x-request-id', 'x-stream-id', 'idempotent-replayed', 'retry-after', 'x-should-retry'],
    ...['content-range', 'accept-ranges', 'etag', 'content-disposition'],
    ...['server-timing', 'x-cache', 'retry-after-ms'],
    ...['requests', 'characters', 'audio-seconds', 'streams', 'readers'].flatMap((kind) =>
      ['limit', 'remaining', 'reset'].map((name) => `x-ratelimit-${name}-${kind}`),
    ),
  ],
};

/** The gateway's whole HTTP surface. */
export function createApp(context: GatewayContext): OpenAPIHono<GatewayEnv> {
  const { config, logger } = context;
  const app = new OpenAPIHono<GatewayEnv>();
  app.use(requestId);
  app.use(requestLog(logger));
  app.use(requestMetrics(context.metrics));
  app.onError(errorReply(logger));
  app.notFound(unknownRoute(app));
  const { HOST: host, CORS_ORIGINS: origins } = config;
  if (origins.length > 0) {
    app.use(cors({ origin: origins.includes('*') ? '*' : origins, ...CORS_HEADERS }));
    app.use(streamedHeaders);
  }

  app.get('/health', health(context));
  app.get('/health/live', live);
  app.get('/health/ready', ready(context));
  const operator = adminKey(config.ADMIN_KEY);
  const operatorPages = { host, origins, isOpen: () => config.ADMIN_KEY === undefined };
  for (const path of ['/metrics', '/queues']) app.use(path, foreignPages(operatorPages), operator);
  app.get('/metrics', metricsText(context));
  app.get('/queues', queueList(context));
  addDocs(app);

  const key = apiKey({
    keys: context.keys,
    publicLists: config.PUBLIC_LISTS,
    limits: {
      requestsPerMinute: config.RATE_LIMIT_REQUESTS_PER_MINUTE,
      charactersPerMinute: config.RATE_LIMIT_CHARACTERS_PER_MINUTE,
      audioSecondsPerMinute: config.RATE_LIMIT_AUDIO_SECONDS_PER_MINUTE,
      streams: config.MAX_STREAMS_PER_KEY,
    },
  });
  const pages = foreignPages({ host, origins, isOpen: () => context.keys.isEmpty });
  app.use('/v1/*', pages, key).use('/api/*', pages, key);
  addStopRoutes(app, context);
  // Behind those: what runs can be stopped, however much was asked before.
  const rate = rateLimit(context.rates);
  app.use('/v1/*', rate).use('/api/*', rate);
  const [gate, back] = [whileAccepting(context), redisBack(context)];
  app.use('/v1/*', gate, back).use('/api/*', gate, back);
  app.get('/v1/streams/:id/events', streamEvents(context));
  app.get('/v1/streams/:id/audio', streamAudio(context));
  app.post('/v1/chat/completions', chatCompletions(context));
  app.post('/api/openai', assistant(context));
  app.post('/v1/audio/speech', audioSpeech(context));
  app.post('/v1/audio/transcriptions', audioTranscriptions(context, 'transcribe'));
  app.post('/v1/audio/translations', audioTranscriptions(context, 'translate'));
  addFileRoutes(app, context);
  addBatchRoutes(app, context);
  app.get('/v1/audio/voices', voiceList(context));
  app.get('/v1/audio/models', audioModelList(context));
  app.get('/v1/models', modelList(context));
  app.get('/v1/models/:id{.+}', modelById(context));
  return app;
}

/** A gateway that shuts down takes nothing new. */
function whileAccepting({ accepting }: GatewayContext): MiddlewareHandler<GatewayEnv> {
  return async (_c, next) => {
    if (!accepting()) throw new VoiceError('server_shutting_down', { retryAfterSeconds: 1 });
    await next();
  };
}

/** Before the gate of a gateway that shuts down: what still runs there can be stopped. */
function addStopRoutes(app: OpenAPIHono<GatewayEnv>, context: GatewayContext): void {
  app.get('/v1/streams', streamList(context));
  app.post('/v1/streams/cancel', streamCancelAll(context));
  app.get('/v1/streams/:id', streamById(context));
  app.post('/v1/streams/:id/cancel', streamCancel(context));
  app.post('/api/stop/:id', stopOne(context));
  app.post('/api/stop_all', stopAll(context));
  app.use('/v1/batches/:id/cancel', redisBack(context));
  app.post('/v1/batches/:id/cancel', batchCancel(context));
}

function addBatchRoutes(app: OpenAPIHono<GatewayEnv>, context: GatewayContext): void {
  app.post('/v1/batches', batchCreate(context));
  app.get('/v1/batches', batchList(context));
  app.get('/v1/batches/:id', batchById(context));
  app.get('/v1/batches/:id/events', batchEvents(context));
}

function addFileRoutes(app: OpenAPIHono<GatewayEnv>, context: GatewayContext): void {
  app.post('/v1/files', fileUpload(context));
  app.get('/v1/files', fileList(context));
  app.get('/v1/files/:id', fileById(context));
  app.delete('/v1/files/:id', fileDelete(context));
  app.get('/v1/files/:id/content', fileContent(context));
}
