import { z } from 'zod';
import type { Stage } from '../jobs/job-catalog.ts';
import type { OpenAIUpstreamOptions } from './openai-upstream.ts';
import { commaList, milliseconds } from './variables.ts';

/** What the environment says about one stage's `openai` engine. */
export interface OpenAIConfig extends OpenAIUpstreamOptions {
  /** What to announce instead of what the server lists. */
  models: string[] | undefined;
}

/**
 * Lines of batches that a worker has at its upstream at once, which may be one model on one machine:
 * with all its 256 places, 250 prompts stood at an Ollama with one slot, whose queue ran out of
 * their 600 s, and a chat waited behind 255.
 */
export const UPSTREAM_BATCH_CONCURRENCY = 4;

const OPENAI_BASE_URL = 'https://api.openai.com/v1';

const url = z
  .url({ protocol: /^https?$/, error: 'must be a URL that begins with http:// or https://' })
  .optional();
const text = z.string().trim().optional();

/**
 * The variables of the `openai` engine of one stage: `OPENAI_BASE_URL`, `OPENAI_API_KEY`, the same
 * with `LLM_`, `TTS_` or `STT_` before them, which win (the shared key goes to the shared host only), `<STAGE>_OPENAI_MODELS` and the upstream
 * timeouts. An engine with more adds them: `openAIConfig('tts').and(z.object({ … }))`.
 */
export function openAIConfig(stage: Stage) {
  const prefix = stage.toUpperCase();
  const own = {
    baseUrl: `${prefix}_OPENAI_BASE_URL`,
    apiKey: `${prefix}_OPENAI_API_KEY`,
    models: `${prefix}_OPENAI_MODELS`,
  };
  const shared = z.object({
    OPENAI_BASE_URL: url,
    OPENAI_API_KEY: text,
    UPSTREAM_CONNECT_TIMEOUT_MS: milliseconds(10_000),
    UPSTREAM_IDLE_TIMEOUT_MS: milliseconds(60_000),
  });
  const ofStage = z.object({ [own.baseUrl]: url, [own.apiKey]: text });
  const models = z.object({ [own.models]: commaList().optional() });
  return shared
    .and(ofStage)
    .and(models)
    .transform((environment, context): OpenAIConfig => {
      const baseUrl = environment[own.baseUrl] ?? environment.OPENAI_BASE_URL ?? OPENAI_BASE_URL;
      const sharedUrl = environment.OPENAI_BASE_URL ?? OPENAI_BASE_URL;
      // The shared key is the shared server's: another host must not see it.
      const sameHost = new URL(baseUrl).host === new URL(sharedUrl).host;
      const apiKey = environment[own.apiKey] ?? (sameHost ? environment.OPENAI_API_KEY : undefined);
      if (apiKey === undefined && new URL(baseUrl).hostname === 'api.openai.com') {
        const message = `is needed for api.openai.com; set it, or set ${own.baseUrl} to another server`;
        context.addIssue({ code: 'custom', path: ['OPENAI_API_KEY'], message });
      }
      return {
        baseUrl,
        apiKey,
        models: environment[own.models],
        connectTimeoutMs: environment.UPSTREAM_CONNECT_TIMEOUT_MS,
        idleTimeoutMs: environment.UPSTREAM_IDLE_TIMEOUT_MS,
      };
    });
}
