import { z } from 'zod';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import { defineEngine } from '@antiphon/shared/services/define-engine';
import { openAIConfig, UPSTREAM_BATCH_CONCURRENCY } from '@antiphon/shared/services/openai-config';
import {
  createOpenAIUpstream,
  type OpenAIUpstream,
} from '@antiphon/shared/services/openai-upstream';
import type {
  PcmChunk,
  SpeechCatalog,
  SpeechRequest,
  TTSService,
} from '@antiphon/shared/services/tts-service';
import { readBody } from '@antiphon/shared/services/upstream-body';
import { announcedModels } from '@antiphon/shared/services/upstream-models';
import { commaList } from '@antiphon/shared/services/variables';
import { readSpeechBody } from './openai/speech-body.ts';
import { voiceList } from './openai/voice-list.ts';

/** A server with several kinds of models tells them apart only by name. */
const SPEECH_MODEL =
  /tts|speech|kokoro|piper|orpheus|chatterbox|cosyvoice|voxcpm|vits|bark|parler|dia-/i;
const JSON_HEADERS = { 'content-type': 'application/json', accept: 'application/octet-stream' };
const HAS_LETTER_OR_DIGIT = /[\p{L}\p{N}]/u;

const config = openAIConfig('tts').and(
  z.object({
    TTS_OPENAI_VOICES: commaList().optional(),
    TTS_OPENAI_SAMPLE_RATE_HZ: z.coerce.number().int().min(8000).max(192_000).default(24_000),
  }),
);

class OpenAIService implements TTSService {
  readonly deterministic = false;
  /** More at once would only queue at a server with one GPU; fewer would leave gaps between phrases. */
  readonly parallelPhrases = 3;
  /** OpenAI's limit of `input`. */
  readonly maxPhraseCharacters = 4096;
  readonly fingerprint: string;
  readonly #config: z.output<typeof config>;
  readonly #upstream: OpenAIUpstream;
  readonly #closing = new AbortController();

  constructor(options: z.output<typeof config>) {
    this.#config = options;
    this.fingerprint = `openai ${options.baseUrl} ${options.TTS_OPENAI_SAMPLE_RATE_HZ}`;
    this.#upstream = createOpenAIUpstream(options);
  }

  async listVoices(signal: AbortSignal): Promise<SpeechCatalog> {
    const { models, TTS_OPENAI_VOICES: ids } = this.#config;
    const voices = ids?.map((id) => ({ id, name: id })) ?? (await this.#askVoices(signal));
    const isOfStage = (model: string) => SPEECH_MODEL.test(model);
    const chosen = { stage: 'tts', models, isOfStage } as const;
    return { models: await announcedModels(this.#upstream, chosen, signal), voices };
  }

  /** OpenAI itself has no such list, and no server has to. */
  async #askVoices(signal: AbortSignal): Promise<SpeechCatalog['voices']> {
    try {
      const voices = await this.#upstream.getJson('/audio/voices', voiceList, signal);
      return voices.length > 0 ? voices : 'any';
    } catch (thrown) {
      if (isRefusal(thrown) || isNoList(thrown)) return 'any';
      throw thrown;
    }
  }

  /** Which languages it knows is the upstream's business. */
  canSpeak(): boolean {
    return true;
  }

  async *synthesize(request: SpeechRequest, signal: AbortSignal): AsyncGenerator<PcmChunk> {
    const either = AbortSignal.any([signal, this.#closing.signal]);
    const response = await this.#upstream.request('/audio/speech', {
      body: JSON.stringify(speechBody(request)),
      headers: JSON_HEADERS,
      signal: either,
    });
    const { idleTimeoutMs, TTS_OPENAI_SAMPLE_RATE_HZ: sampleRateHz } = this.#config;
    const bytes = readBody(response, { signal: either, idleTimeoutMs });
    const contentType = response.headers.get('content-type') ?? '';
    let spoken = false;
    for await (const chunk of readSpeechBody(bytes, contentType, sampleRateHz)) {
      spoken = true;
      yield chunk;
    }
    if (!spoken && HAS_LETTER_OR_DIGIT.test(request.text)) {
      const message = 'The upstream server of this engine answered without any audio.';
      throw new VoiceError('upstream_protocol', { message });
    }
  }

  async close(): Promise<void> {
    this.#closing.abort(new VoiceError('server_shutting_down'));
    await this.#upstream.close();
  }
}

/** `language` stays here: OpenAI's schema has no such field and refuses unknown ones. */
function speechBody({ text, voice, model, speed, instructions }: SpeechRequest): object {
  return {
    model,
    input: text.toWellFormed(),
    voice,
    response_format: 'pcm',
    ...(speed === 1 ? {} : { speed }),
    ...(instructions === undefined ? {} : { instructions }),
  };
}

function isRefusal(thrown: unknown): thrown is VoiceError {
  return thrown instanceof VoiceError && thrown.code === 'upstream_rejected';
}

function isNoList(thrown: unknown): boolean {
  return thrown instanceof VoiceError && thrown.code === 'upstream_protocol';
}

export const openai = defineEngine({
  description:
    'Any OpenAI-compatible speech server, streamed: OpenAI, Kokoro-FastAPI, speaches, vllm-omni',
  defaultConcurrency: 32,
  defaultBatchConcurrency: UPSTREAM_BATCH_CONCURRENCY,
  config,
  create: async (options): Promise<TTSService> => new OpenAIService(options),
});
