import { execFile } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { promisify } from 'node:util';
import { z } from 'zod';
import { isSilence } from '@antiphon/shared/audio/silence';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import { defineEngine } from '@antiphon/shared/services/define-engine';
import type {
  PcmChunk,
  SpeechCatalog,
  SpeechRequest,
  TTSService,
} from '@antiphon/shared/services/tts-service';
import { speakWithChild } from './espeak/espeak-child.ts';
import { hasKanjiInJapanese, scriptOf } from './espeak/text-script.ts';
import { announcedVoices, type EspeakVoice, parseVoices, voiceArgument } from './espeak/voices.ts';

const MODELS = ['espeak', 'tts-1', 'tts-1-hd', 'gpt-4o-mini-tts'];
const WORDS_PER_MINUTE = 175;
/** espeak-ng's floor: at 44 as at 80 the same text took 2.13 times the time of 175. */
const SLOWEST_FACTOR = 2.3;
/** Steps of `-g` (word gap) that make a text once its length at speed 1 longer, at the floor. */
const GAPS_PER_FACTOR = 9.3;

interface EspeakProgram {
  path: string;
  voices: EspeakVoice[];
  /** What it says of itself. */
  version: string;
}

class EspeakService implements TTSService {
  /** The same program gives the same bytes: no clock and no seed goes in. */
  readonly deterministic = true;
  readonly maxPhraseCharacters = 1000;
  readonly fingerprint: string;
  readonly parallelPhrases: number;
  readonly #path: string;
  readonly #voices: EspeakVoice[];
  readonly #closing = new AbortController();
  readonly #speaking = new Set<Promise<void>>();

  constructor(program: EspeakProgram, parallelPhrases: number) {
    this.#path = program.path;
    this.#voices = program.voices;
    this.fingerprint = `espeak ${program.version}`;
    this.parallelPhrases = parallelPhrases;
  }

  async listVoices(): Promise<SpeechCatalog> {
    return { models: MODELS, voices: announcedVoices(this.#voices) };
  }

  canSpeak(text: string): boolean {
    const { script, voice } = scriptOf(text);
    return this.#voices.some(({ id }) => id === voice) && !hasKanjiInJapanese(text, script);
  }

  async *synthesize(request: SpeechRequest, signal: AbortSignal): AsyncGenerator<PcmChunk> {
    const either = AbortSignal.any([signal, this.#closing.signal]);
    either.throwIfAborted();
    const text = plainText(request.text);
    const mustSound = /[\p{L}\p{N}]/u.test(text);
    if (mustSound && !this.canSpeak(text)) throw new VoiceError('text_not_speakable');
    if (text === '') return;
    const command = {
      path: this.#path,
      args: ['-v', voiceArgument(request, this.#voices), ...paceArguments(request.speed)],
      background: request.background ?? false,
    };
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#speaking.add(promise);
    let heard = false;
    try {
      for await (const chunk of speakWithChild(command, text, either)) {
        heard ||= !isSilence(chunk.pcm);
        yield chunk;
      }
    } finally {
      this.#speaking.delete(promise);
      resolve();
    }
    if (mustSound && !heard) throw new VoiceError('text_not_speakable');
  }

  async close(): Promise<void> {
    this.#closing.abort(new VoiceError('server_shutting_down'));
    await Promise.all(this.#speaking);
  }
}

/** Without control characters (espeak-ng has commands that begin with one) and `[[phonemes]]`. */
function plainText(text: string): string {
  return text
    .toWellFormed()
    .replaceAll(/[\p{Cc}\p{Cs}\ufffd]/gu, ' ')
    .replaceAll(/\[(?=\[)/g, '[ ')
    .trim();
}

/** Speeds under what espeak-ng can do are made of longer pauses between the words. */
function paceArguments(speed: number): string[] {
  const gap = Math.max(0, Math.round((1 / speed - SLOWEST_FACTOR) * GAPS_PER_FACTOR));
  return ['-s', String(Math.round(WORDS_PER_MINUTE * speed)), ...(gap > 0 ? ['-g', `${gap}`] : [])];
}

async function askEspeak(path: string): Promise<EspeakProgram> {
  const ask = async (option: string) =>
    (await promisify(execFile)(path, [option], { timeout: 10_000 })).stdout;
  try {
    const voices = parseVoices(await ask('--voices'));
    return { path, voices, version: (await ask('--version')).trim() };
  } catch (thrown) {
    throw new Error(
      `The engine espeak needs the program '${path}', which does not run (${(thrown as Error).message.trim()}). ` +
        'Install it (Debian, Ubuntu: apt-get install espeak-ng) or set TTS_ESPEAK_PATH.',
      { cause: thrown },
    );
  }
}

export const espeak = defineEngine({
  description: 'Over 100 languages, by the program espeak-ng (apt-get install espeak-ng)',
  defaultConcurrency: Math.max(1, Math.min(4, availableParallelism())),
  config: z.object({ TTS_ESPEAK_PATH: z.string().min(1).default('espeak-ng') }),
  create: async ({ TTS_ESPEAK_PATH: path }, { concurrency }): Promise<TTSService> => {
    const program = await askEspeak(path);
    if (program.voices.length === 0) {
      throw new Error(`'${path} --voices' lists no voices: set TTS_ESPEAK_PATH to espeak-ng.`);
    }
    return new EspeakService(program, concurrency);
  },
});
