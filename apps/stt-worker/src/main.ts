import { startStageWorker } from '@antiphon/shared/queue/stage-worker';
import { createEngine } from '@antiphon/shared/runtime/create-engine';
import { createLogger } from '@antiphon/shared/runtime/logger';
import { runProcess } from '@antiphon/shared/runtime/run-process';
import { openBlobStore } from '@antiphon/shared/storage/open-blob-store';
import { TranscriptStore } from '@antiphon/shared/storage/transcript-store';
import { environment, readConfig } from './config.ts';
import { sttEngines } from './engines/index.ts';
import { createTranscriptionHandler } from './transcription-handler.ts';
import { createTranscriptionLineHandler } from './transcription-line-handler.ts';

await runProcess('stt-worker', async () => {
  const config = readConfig();
  const logger = createLogger('stt-worker', config.LOG_LEVEL);
  const { service, ...places } = await createEngine(
    sttEngines,
    { name: config.STT_SERVICE, variable: 'STT_SERVICE' },
    environment,
    { ...config, logger },
  );
  const blobs = await openBlobStore(config, 'blobs');
  return startStageWorker({
    stage: 'stt',
    kind: 'transcription',
    engineName: config.STT_SERVICE,
    config,
    ...places,
    logger,
    announce: async (signal) => ({
      ...(await service.listModels(signal)),
      languages: service.languages,
    }),
    createHandler: ({ redis }) =>
      createTranscriptionHandler({ service, blobs, transcripts: new TranscriptStore(redis) }),
    createLineHandler: ({ fileBlobs }) => createTranscriptionLineHandler({ service, fileBlobs }),
    closeEngine: () => service.close(),
  });
});
