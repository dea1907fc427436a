import { VoiceError } from '@antiphon/shared/errors/voice-error';
import { defineEngine } from '@antiphon/shared/services/define-engine';
import { languageCode } from '@antiphon/shared/services/language-names';
import { openAIConfig, UPSTREAM_BATCH_CONCURRENCY } from '@antiphon/shared/services/openai-config';
import {
  createOpenAIUpstream,
  type OpenAIUpstream,
} from '@antiphon/shared/services/openai-upstream';
import type {
  RecordedAudio,
  STTService,
  TranscriptEvent,
  TranscriptionRequest,
} from '@antiphon/shared/services/stt-service';
import { readWholeBody } from '@antiphon/shared/services/upstream-body';
import { announcedModels } from '@antiphon/shared/services/upstream-models';
import { multipartForm } from './openai/multipart-form.ts';
import {
  parseTranscriptAnswer,
  segmentsOf,
  type TranscriptAnswer,
} from './openai/transcript-answer.ts';

const DEFAULT_CONCURRENCY = 32;
/** Ten hours with the times of all words. */
const MAX_ANSWER_BYTES = 64 * 1024 * 1024;
const BYTES_PER_SECOND_DECODED = 2 * 16_000;
/** A list that mixes them with chat models names models for listening like this. */
const LISTENING_MODEL = /whisper|transcri|asr|stt|parakeet|canary|voxtral|moonshine|sensevoice/i;
/** How servers complain about `verbose_json`. */
const FORMAT_COMPLAINT = /verbose_json|response_format|timestamp_granularit/i;
/** ISO 639-2 for "undetermined": the server did not tell. */
const UNKNOWN_LANGUAGE = 'und';

/** Any server with OpenAI's `/audio/transcriptions` (and `/audio/translations`, to translate). */
export const openai = defineEngine({
  description: 'Any OpenAI-compatible server with /audio/transcriptions',
  defaultConcurrency: DEFAULT_CONCURRENCY,
  defaultBatchConcurrency: UPSTREAM_BATCH_CONCURRENCY,
  config: openAIConfig('stt'),
  create: async (config): Promise<STTService> =>
    new OpenAITranscription(createOpenAIUpstream(config), config.models),
});

class OpenAITranscription implements STTService {
  readonly languages = 'any';
  readonly #upstream: OpenAIUpstream;
  readonly #models: string[] | undefined;
  /** Models that refused `verbose_json`: they give text only, without times. */
  readonly #textOnlyModels = new Set<string>();

  constructor(upstream: OpenAIUpstream, models: string[] | undefined) {
    this.#upstream = upstream;
    this.#models = models;
  }

  /** Without `STT_OPENAI_MODELS`: what the server lists, or of it what is clearly made to listen. */
  async listModels(signal: AbortSignal): Promise<{ models: string[] }> {
    const isOfStage = (model: string) => LISTENING_MODEL.test(model);
    const chosen = { stage: 'stt', models: this.#models, isOfStage } as const;
    return { models: await announcedModels(this.#upstream, chosen, signal) };
  }

  async *transcribe(
    request: TranscriptionRequest,
    signal: AbortSignal,
  ): AsyncIterable<TranscriptEvent> {
    signal.throwIfAborted();
    const answer = await this.#askForTimes(request, signal);
    if (request.wordTimes && answer.text.trim() !== '' && !answer.words?.length) {
      throw noWordTimes(request.model);
    }
    const durationSeconds =
      answer.duration ?? (await decodedSeconds(request.audio, answer, signal));
    yield* segmentsOf(answer, durationSeconds, request.wordTimes);
    yield { type: 'finish', language: languageOf(answer, request), durationSeconds };
  }

  async close(): Promise<void> {
    await this.#upstream.close();
  }

  /** Asks for `verbose_json`, and for `json` once a model has refused that. */
  async #askForTimes(
    request: TranscriptionRequest,
    signal: AbortSignal,
  ): Promise<TranscriptAnswer> {
    const { model, wordTimes } = request;
    if (!this.#textOnlyModels.has(model)) {
      try {
        return await this.#ask(request, 'verbose_json', signal);
      } catch (error) {
        if (!isFormatComplaint(error)) throw error;
        this.#textOnlyModels.add(model);
      }
    }
    if (wordTimes) throw noWordTimes(model);
    return this.#ask(request, 'json', signal);
  }

  async #ask(
    request: TranscriptionRequest,
    format: 'json' | 'verbose_json',
    signal: AbortSignal,
  ): Promise<TranscriptAnswer> {
    const path =
      request.operation === 'translate' ? '/audio/translations' : '/audio/transcriptions';
    const form = await multipartForm(request.audio, fieldsOf(request, format), signal);
    // The whole answer comes at once, after as long as the recording takes: no limit on the wait,
    // the job has one.
    const response = await this.#upstream.request(path, { ...form, signal, headersTimeoutMs: 0 });
    const { idleTimeoutMs } = this.#upstream;
    const bodyOptions = { signal, idleTimeoutMs, maxBytes: MAX_ANSWER_BYTES };
    return parseTranscriptAnswer(await readWholeBody(response, bodyOptions));
  }
}

function fieldsOf(
  { model, operation, language, prompt, temperature, wordTimes }: TranscriptionRequest,
  format: 'json' | 'verbose_json',
): [string, string][] {
  const fields: [string, string][] = [
    ['model', model],
    ['response_format', format],
  ];
  // Translations know neither.
  if (operation === 'transcribe') {
    if (language) fields.push(['language', language]);
    if (format === 'verbose_json') fields.push(['timestamp_granularities[]', 'segment']);
    if (format === 'verbose_json' && wordTimes) fields.push(['timestamp_granularities[]', 'word']);
  }
  if (prompt) fields.push(['prompt', prompt]);
  if (temperature !== undefined) fields.push(['temperature', String(temperature)]);
  return fields;
}

function isFormatComplaint(error: unknown): boolean {
  if (!(error instanceof VoiceError) || error.code !== 'upstream_rejected') return false;
  return error.param === 'response_format' || FORMAT_COMPLAINT.test(error.message);
}

function noWordTimes(model: string): VoiceError {
  return new VoiceError('unsupported_value', {
    message: `The model '${model}' gives no times of words. Leave 'word' out of timestamp_granularities, or choose a model that gives them, such as whisper-1.`,
    param: 'timestamp_granularities',
  });
}

/** What was heard, as the server says; else what the client said it would be. */
function languageOf(answer: TranscriptAnswer, request: TranscriptionRequest): string {
  const told = answer.language ?? answer.languages?.[0]?.code;
  const code = told ? languageCode(told) : undefined;
  if (code !== undefined) return code;
  if (request.operation === 'translate') return 'en';
  return request.language ? (languageCode(request.language) ?? request.language) : UNKNOWN_LANGUAGE;
}

/**
 * Only for servers that do not tell, since it means decoding all of it. A recording that the server
 * understood and we cannot decode has the length that was billed, in whole seconds.
 */
async function decodedSeconds(
  audio: RecordedAudio,
  answer: TranscriptAnswer,
  signal: AbortSignal,
): Promise<number> {
  let bytes = 0;
  try {
    for await (const pcm of audio.pcm(BYTES_PER_SECOND_DECODED / 2, signal)) bytes += pcm.length;
  } catch {
    signal.throwIfAborted();
    return answer.usage?.seconds ?? 0;
  }
  return bytes / BYTES_PER_SECOND_DECODED;
}
