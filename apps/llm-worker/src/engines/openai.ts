import type {
  AIService,
  ChatEvent,
  ChatRequest,
  ModelList,
} from '@antiphon/shared/services/ai-service';
import { defineEngine } from '@antiphon/shared/services/define-engine';
import {
  type OpenAIConfig,
  openAIConfig,
  UPSTREAM_BATCH_CONCURRENCY,
} from '@antiphon/shared/services/openai-config';
import {
  createOpenAIUpstream,
  type OpenAIUpstream,
} from '@antiphon/shared/services/openai-upstream';
import { announcedModels } from '@antiphon/shared/services/upstream-models';
import { readStreamedAnswer, readWholeAnswer } from './openai/answer-reader.ts';

const JSON_HEADERS = { 'content-type': 'application/json' };

/** What OpenAI lists besides its chat models. */
const NO_CHAT_MODEL =
  /(^|[-/])(tts|whisper|transcribe|embed|embedding|dall-e|moderation|image|realtime|sora|rerank)([-/]|$)/i;

class OpenAIService implements AIService {
  readonly #config: OpenAIConfig;
  readonly #upstream: OpenAIUpstream;

  constructor(config: OpenAIConfig) {
    this.#config = config;
    this.#upstream = createOpenAIUpstream(config);
  }

  async listModels(signal: AbortSignal): Promise<ModelList> {
    const { models } = this.#config;
    const isOfStage = (model: string) => !NO_CHAT_MODEL.test(model);
    const chosen = { stage: 'llm', models, isOfStage } as const;
    return { models: await announcedModels(this.#upstream, chosen, signal) };
  }

  /** The body goes out byte for byte, a streamed answer comes back byte for byte. */
  streamChat(request: ChatRequest, signal: AbortSignal): AsyncIterable<ChatEvent> {
    const { requestJson, stream, choiceCount } = request;
    const { idleTimeoutMs, apiKey } = this.#config;
    const respond = (): Promise<Response> =>
      this.#upstream.request('/chat/completions', {
        body: requestJson,
        headers: JSON_HEADERS,
        signal,
        // Headers of a whole answer come with it; the job's own deadline bounds that.
        ...(stream ? {} : { headersTimeoutMs: 0 }),
      });
    // Returned, not delegated to by `yield*`, which would cost every token another turn.
    const read = stream ? readStreamedAnswer : readWholeAnswer;
    return read(respond, { signal, idleTimeoutMs, choiceCount, apiKey });
  }

  async close(): Promise<void> {
    await this.#upstream.close();
  }
}

export const openai = defineEngine({
  description: 'Any OpenAI-compatible server: OpenAI, vLLM, Ollama, llama.cpp, LM Studio',
  defaultConcurrency: 256,
  defaultBatchConcurrency: UPSTREAM_BATCH_CONCURRENCY,
  config: openAIConfig('llm'),
  create: async (config): Promise<AIService> => new OpenAIService(config),
});
