import { workerConfig } from '@antiphon/shared/queue/stage-worker';
import { loadConfig } from '@antiphon/shared/runtime/load-config';
import { milliseconds, wholeNumber } from '@antiphon/shared/services/variables';
import { z } from 'zod';

/** For the chosen engines, which parse their own variables. */
export const environment = process.env;

export const readConfig = () =>
  loadConfig(
    z.object({
      ...workerConfig,
      TTS_SERVICE: z.string().default('flite'),
      TTS_FALLBACK_SERVICE: z.string().optional(),
      /** What was said lies nowhere longer than it must, unless the operator wants it. */
      SPEECH_CACHE: z.enum(['off', 'tenant', 'shared']).default('off'),
      SPEECH_CACHE_MAX_BYTES: wholeNumber(67_108_864, 1_048_576),
      SPEECH_CACHE_TTL_MS: milliseconds(86_400_000),
    }),
    environment,
  );
