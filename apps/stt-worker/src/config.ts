import { loadConfig } from '@antiphon/shared/runtime/load-config';
import { workerConfig } from '@antiphon/shared/queue/stage-worker';
import { z } from 'zod';

/** For the chosen engine, which parses its own variables. */
export const environment = process.env;

export const readConfig = () =>
  loadConfig(
    z.object({ ...workerConfig, STT_SERVICE: z.string().default('pocketsphinx') }),
    environment,
  );
