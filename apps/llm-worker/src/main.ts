import { startStageWorker } from '@antiphon/shared/queue/stage-worker';
import { createEngine } from '@antiphon/shared/runtime/create-engine';
import { createLogger } from '@antiphon/shared/runtime/logger';
import { runProcess } from '@antiphon/shared/runtime/run-process';
import { openBlobStore } from '@antiphon/shared/storage/open-blob-store';
import { TranscriptStore } from '@antiphon/shared/storage/transcript-store';
import { createChatHandler } from './chat-handler.ts';
import { createChatLineHandler } from './chat-line-handler.ts';
import { environment, readConfig } from './config.ts';
import { llmEngines } from './engines/index.ts';

await runProcess('llm-worker', async () => {
  const config = readConfig();
  const logger = createLogger('llm-worker', config.LOG_LEVEL);
  const { service, ...places } = await createEngine(
    llmEngines,
    { name: config.AI_SERVICE, variable: 'AI_SERVICE' },
    environment,
    { ...config, logger },
  );
  const blobs = await openBlobStore(config, 'blobs');
  return startStageWorker({
    stage: 'llm',
    kind: 'chat',
    engineName: config.AI_SERVICE,
    config,
    ...places,
    logger,
    announce: (signal) => service.listModels(signal),
    createHandler: ({ log, jobs, redis }) =>
      createChatHandler({
        ...{ service, blobs, log, jobs, logger },
        transcripts: new TranscriptStore(redis),
      }),
    createLineHandler: ({ fileBlobs }) => createChatLineHandler({ service, fileBlobs }),
    closeEngine: () => service.close(),
  });
});
