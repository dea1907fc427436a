import { access } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import { defineEngine, type EngineContext } from '@antiphon/shared/services/define-engine';
import type {
  STTService,
  TranscriptEvent,
  TranscriptionRequest,
} from '@antiphon/shared/services/stt-service';
import { z } from 'zod';
import {
  createPauseInsertion,
  type PauseInsertion,
  SAMPLE_RATE_HZ,
} from './pocketsphinx/pause-insertion.ts';
import { presentableWords } from './pocketsphinx/presentable-words.ts';
import { Recogniser, RecogniserFailure } from './pocketsphinx/recogniser.ts';
import { RecogniserSupply } from './pocketsphinx/recogniser-supply.ts';
import { type Utterance, UtteranceParser } from './pocketsphinx/utterance-parser.ts';

const MODELS = [
  'pocketsphinx',
  'whisper-1',
  'gpt-4o-transcribe',
  'gpt-4o-mini-transcribe',
  'gpt-transcribe',
];
const LANGUAGE = 'en';
const ENGLISH_NAMES = new Set(['en', 'eng', 'english']);
const NOT_FOUND_EXIT_CODES = new Set([126, 127]);
/** Keeps the logarithm of a word that the recogniser gives no chance finite. */
const LEAST_PROBABILITY = 1e-6;

const config = z.object({
  STT_POCKETSPHINX_PATH: z.string().min(1).default('pocketsphinx_continuous'),
  STT_POCKETSPHINX_MODEL_DIR: z.string().min(1).default('/usr/share/pocketsphinx/model/en-us'),
});

/**
 * CMU Sphinx as a child process: English, on the CPU, no download. It hears neither prompt nor
 * temperature (the operator is told once), and writes no punctuation.
 */
export const pocketsphinx = defineEngine({
  description: 'CMU Sphinx on this machine: English, no key, no download, modest accuracy',
  defaultConcurrency: availableParallelism(),
  config,
  create: async (variables, context) => {
    const programArguments = await modelArguments(variables.STT_POCKETSPHINX_MODEL_DIR);
    const path = variables.STT_POCKETSPHINX_PATH;
    await tryOut(path, programArguments);
    return new Pocketsphinx(
      new RecogniserSupply((options) => new Recogniser(path, programArguments, options)),
      context,
    );
  },
});

class Pocketsphinx implements STTService {
  readonly languages = [LANGUAGE];
  readonly #supply: RecogniserSupply;
  readonly #context: EngineContext;
  readonly #warned = new Set<string>();

  constructor(supply: RecogniserSupply, context: EngineContext) {
    this.#supply = supply;
    this.#context = context;
    supply.warm();
  }

  async listModels(): Promise<{ models: string[] }> {
    return { models: MODELS };
  }

  /** `translate` is into English: of English speech, the same text. */
  async *transcribe(
    request: TranscriptionRequest,
    signal: AbortSignal,
  ): AsyncIterable<TranscriptEvent> {
    signal.throwIfAborted();
    requireEnglish(request.language);
    this.#warnOfUnused(request);
    const pauses = createPauseInsertion();
    const parser = new UtteranceParser();
    const recogniser = this.#supply.take({ background: request.background === true });
    try {
      const openAudio = (stop: AbortSignal) =>
        pauses.audio(request.audio.pcm(SAMPLE_RATE_HZ, stop));
      for await (const line of recogniser.lines(openAudio, signal)) {
        yield* segmentOf(parser.line(line), pauses, request.wordTimes);
      }
      yield* segmentOf(parser.end(), pauses, request.wordTimes);
      const durationSeconds = milliseconds(pauses.durationSeconds);
      yield { type: 'finish', language: LANGUAGE, durationSeconds };
    } catch (error) {
      throw error instanceof RecogniserFailure
        ? new VoiceError('engine_failed', { cause: error })
        : error;
    } finally {
      await recogniser.stop();
      this.#supply.release(recogniser);
    }
  }

  async close(): Promise<void> {
    await this.#supply.close();
  }

  #warnOfUnused({ prompt, temperature }: TranscriptionRequest): void {
    if (prompt !== undefined && prompt.trim() !== '') this.#warnOnce('prompt');
    if (temperature !== undefined && temperature !== 0) this.#warnOnce('temperature');
  }

  #warnOnce(parameter: string): void {
    if (this.#warned.has(parameter)) return;
    this.#warned.add(parameter);
    this.#context.warn(
      `Clients send '${parameter}' with transcriptions; pocketsphinx takes it but cannot use it.`,
    );
  }
}

function* segmentOf(
  utterance: Utterance | undefined,
  pauses: PauseInsertion,
  wordTimes: boolean,
): Iterable<TranscriptEvent> {
  const recognised = presentableWords(utterance?.words ?? []);
  if (recognised.length === 0) return;
  const original = (seconds: number) => milliseconds(pauses.originalSeconds(seconds));
  const words = recognised.map(({ entry, startSeconds, endSeconds }) => ({
    word: entry,
    startSeconds: original(startSeconds),
    endSeconds: original(endSeconds),
  }));
  const logProbabilities = recognised.map(({ probability }) =>
    Math.log(Math.min(1, Math.max(LEAST_PROBABILITY, probability))),
  );
  yield {
    type: 'segment',
    segment: {
      text: words.map(({ word }) => word).join(' '),
      startSeconds: words[0]?.startSeconds ?? 0,
      endSeconds: words.at(-1)?.endSeconds ?? 0,
      averageLogProbability: logProbabilities.reduce((sum, value) => sum + value, 0) / words.length,
    },
    ...(wordTimes ? { words } : {}),
  };
}

function requireEnglish(language: string | undefined): void {
  if (language === undefined || language === '') return;
  const [primary = ''] = language.toLowerCase().split(/[-_]/);
  if (ENGLISH_NAMES.has(primary)) return;
  throw new VoiceError('unsupported_language', {
    message: `This server's speech recognition (pocketsphinx) knows only English ('en'), not '${language.slice(0, 20)}'. Leave the language out for English speech, or ask the operator for another engine (STT_SERVICE).`,
    param: 'language',
  });
}

function milliseconds(seconds: number): number {
  return Math.round(seconds * 1000) / 1000;
}

/** The program's arguments for a model folder laid out as Debian's. */
async function modelArguments(modelDir: string): Promise<string[]> {
  const acousticModel = join(modelDir, 'en-us');
  const languageModel = join(modelDir, 'en-us.lm.bin');
  const dictionary = join(modelDir, 'cmudict-en-us.dict');
  for (const path of [acousticModel, languageModel, dictionary]) {
    await access(path).catch((cause: unknown) => {
      throw new Error(
        `The speech model lacks ${path}. Install it with 'apt-get install pocketsphinx-en-us', or set STT_POCKETSPHINX_MODEL_DIR to a folder with en-us/, en-us.lm.bin and cmudict-en-us.dict.`,
        { cause },
      );
    });
  }
  // Word errors over 24 sentences: clean speech 7.5 to 10 % with -remove_noise no, 9 % with yes;
  // with pink noise 20 dB below it 11 % either way. -lw 8 costs 3 points and narrower beams 12,
  // wider ones and other VAD settings change nothing: the program's own values stay.
  return [
    ...'-infile /dev/stdin -time yes -remove_noise no'.split(' '),
    '-hmm',
    acousticModel,
    '-lm',
    languageModel,
    '-dict',
    dictionary,
  ];
}

/** Recognises 0.1 s of silence: whatever is missing shows now, and the model is in memory. */
async function tryOut(path: string, programArguments: string[]): Promise<void> {
  const silence = async function* () {
    yield new Uint8Array(SAMPLE_RATE_HZ / 5);
  };
  try {
    const recogniser = new Recogniser(path, programArguments);
    const lines = recogniser.lines(silence, new AbortController().signal);
    for await (const line of lines) void line;
  } catch (cause) {
    const missing =
      cause instanceof RecogniserFailure && NOT_FOUND_EXIT_CODES.has(cause.exitCode ?? 0);
    const advice =
      "Install it with 'apt-get install pocketsphinx pocketsphinx-en-us', or set STT_POCKETSPHINX_PATH.";
    throw new Error(
      missing
        ? `The program ${path} was not found. ${advice}`
        : `${path} does not work (${String(cause)}). ${advice}`,
      { cause },
    );
  }
}
