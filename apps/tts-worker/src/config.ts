import { loadConfig } from '@antiphon/shared/runtime/load-config';
import { workerConfig } from '@antiphon/shared/queue/stage-worker';
import { z } from 'zod';

/** For the chosen engines, which parse their own variables. */
export const environment = process.env;

export const readConfig = () =>
  loadConfig(
    z.object({
      ...workerConfig,
      TTS_SERVICE: z.string().default('flite'),
      TTS_FALLBACK_SERVICE: z.string().optional(),
    }),
    environment,
  );
