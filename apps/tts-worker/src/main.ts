import { availableParallelism } from 'node:os';
import { type StageContext, startStageWorker } from '@antiphon/shared/queue/stage-worker';
import { createEngine } from '@antiphon/shared/runtime/create-engine';
import { createLogger } from '@antiphon/shared/runtime/logger';
import { runProcess } from '@antiphon/shared/runtime/run-process';
import { SpeechCache } from '@antiphon/shared/storage/speech-cache';
import { EncoderPool } from './batch/encoder-pool.ts';
import { createSpeechLineHandler } from './batch/speech-line-handler.ts';
import { environment, readConfig } from './config.ts';
import { ttsEngines } from './engines/index.ts';
import { PhraseCache } from './phrase-cache.ts';
import { createSpeechGiveUp, createSpeechHandler } from './speech-handler.ts';

await runProcess('tts-worker', async () => {
  const config = readConfig();
  const logger = createLogger('tts-worker', config.LOG_LEVEL);
  const make = (name: string, variable: string) =>
    createEngine(ttsEngines, { name, variable }, environment, { ...config, logger });
  const { service, ...places } = await make(config.TTS_SERVICE, 'TTS_SERVICE');
  const fallback =
    config.TTS_FALLBACK_SERVICE === undefined || config.TTS_FALLBACK_SERVICE === config.TTS_SERVICE
      ? undefined
      : (await make(config.TTS_FALLBACK_SERVICE, 'TTS_FALLBACK_SERVICE')).service;
  const encoders = new EncoderPool(Math.min(places.concurrency, availableParallelism()));
  const {
    SPEECH_CACHE: scope,
    SPEECH_CACHE_MAX_BYTES: maxBytes,
    SPEECH_CACHE_TTL_MS: ttlMs,
  } = config;
  let cache: PhraseCache | undefined;
  const openCache = ({ redis, registry }: StageContext) => {
    if (scope === 'off') return undefined;
    const onFailure = (error: unknown) => logger.warn({ err: error }, 'speech cache');
    cache ??= new PhraseCache(
      new SpeechCache(redis, { maxBytes, ttlMs, registry, onFailure }),
      scope,
    );
    return cache;
  };
  return startStageWorker({
    stage: 'tts',
    kind: 'speech',
    engineName: config.TTS_SERVICE,
    config,
    ...places,
    logger,
    announce: async (signal) => ({
      ...(await service.listVoices(signal)),
      parallelPhrases: service.parallelPhrases,
      maxPhraseCharacters: service.maxPhraseCharacters,
    }),
    createHandler: (context) =>
      createSpeechHandler({ ...context, service, fallback, cache: openCache(context) }),
    createLineHandler: (context) =>
      createSpeechLineHandler({
        ...context,
        service,
        fallback,
        cache: openCache(context),
        encoders,
      }),
    createGiveUp: createSpeechGiveUp,
    closeEngine: async () => {
      await Promise.all([service.close(), fallback?.close(), encoders.close()]);
    },
  });
});
