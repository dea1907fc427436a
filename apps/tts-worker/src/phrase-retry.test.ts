import type { ErrorCode } from '@antiphon/shared/errors/error-catalog';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { TTSService } from '@antiphon/shared/services/tts-service';
import { describe, expect, it } from 'vitest';
import { PhraseFailed } from './phrase-audio.ts';
import { type PhraseTries, speakWithRetry } from './phrase-retry.ts';

const SOUND = new Uint8Array(480);

/** Fails so many times with the code, then speaks; counts how often it was asked. */
function failing(times: number, code: ErrorCode) {
  const asked = { times: 0 };
  const engine: TTSService = {
    deterministic: true,
    parallelPhrases: 1,
    maxPhraseCharacters: 300,
    listVoices: async () => ({ models: ['m'], voices: 'any' }),
    canSpeak: () => true,
    async *synthesize() {
      asked.times += 1;
      if (asked.times <= times) throw new VoiceError(code);
      yield { pcm: SOUND, sampleRateHz: 24_000 };
    },
    close: async () => undefined,
  };
  return { engine, asked };
}

type Options = Partial<PhraseTries<number>>;

const speak = (engine: TTSService, options: Options = {}): Promise<number> =>
  speakWithRetry({
    engine,
    phrase: { text: 'Hello.', voice: 'v', model: 'm', speed: 1 },
    cached: undefined,
    signal: new AbortController().signal,
    take: async (pcm) => Buffer.concat(await Array.fromAsync(pcm)).byteLength,
    mayRepeat: () => true,
    ...options,
  });

const codeOf = (spoken: Promise<unknown>): Promise<string> =>
  spoken.then(
    () => 'spoken',
    (error: unknown) => (error instanceof PhraseFailed ? error.error.code : String(error)),
  );

describe('a phrase that failed', () => {
  it('is said once more when that may pass', async () => {
    const { engine, asked } = failing(1, 'engine_failed');
    expect(await speak(engine)).toBe(SOUND.byteLength);
    expect(asked.times).toBe(2);
  });

  it('twice has failed', async () => {
    const { engine, asked } = failing(2, 'engine_failed');
    expect(await codeOf(speak(engine))).toBe('engine_failed');
    expect(asked.times).toBe(2);
  });

  it('for good is not said again, and nobody is asked', async () => {
    const { engine, asked } = failing(1, 'text_not_speakable');
    const mayRepeat = () => expect.unreachable();
    expect(await codeOf(speak(engine, { mayRepeat }))).toBe('text_not_speakable');
    expect(asked.times).toBe(1);
  });

  it('is not said again where its caller does not want it', async () => {
    const { engine, asked } = failing(1, 'rate_limit_exceeded');
    const heard: string[] = [];
    const mayRepeat = ({ code }: VoiceError) => heard.push(code) > 1;
    expect(await codeOf(speak(engine, { mayRepeat }))).toBe('rate_limit_exceeded');
    expect(heard).toEqual(['rate_limit_exceeded']);
    expect(asked.times).toBe(1);
  });
});

it('leaves what the caller fails of to the caller', async () => {
  const { engine, asked } = failing(0, 'engine_failed');
  const take = async () => {
    throw new VoiceError('storage_full');
  };
  await expect(speak(engine, { take })).rejects.toMatchObject({ code: 'storage_full' });
  expect(asked.times).toBe(0);
});

it('throws the reason of an abort, and does not try again', async () => {
  const { engine, asked } = failing(1, 'engine_failed');
  const signal = AbortSignal.abort(new VoiceError('stream_cancelled'));
  await expect(speak(engine, { signal })).rejects.toMatchObject({ code: 'stream_cancelled' });
  expect(asked.times).toBe(1);
});

it('has each try collected for the cache', async () => {
  const { engine } = failing(1, 'engine_failed');
  let collected = 0;
  const cached = {
    found: undefined,
    async *collect(pcm: AsyncIterable<Uint8Array>) {
      collected += 1;
      yield* pcm;
    },
    keep: async () => undefined,
  };
  expect(await speak(engine, { cached })).toBe(SOUND.byteLength);
  expect(collected).toBe(2);
});
