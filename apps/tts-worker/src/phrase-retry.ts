import type { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { TTSService } from '@antiphon/shared/services/tts-service';
import { phraseAudio, PhraseFailed, type PhraseRequest } from './phrase-audio.ts';
import type { CachedPhrase } from './phrase-cache.ts';

/** One try more, since what a phrase failed of may have passed. */
const TRIES = 2;

export interface PhraseTries<Result> {
  engine: TTSService;
  phrase: PhraseRequest;
  /** Collects the sound; left out where there is no cache. */
  cached: CachedPhrase | undefined;
  signal: AbortSignal;
  /** Takes the sound of one try. */
  take: (pcm: AsyncIterable<Uint8Array>) => Promise<Result>;
  /** Asked before the other try, when the error is one that may pass. */
  mayRepeat: (error: VoiceError) => boolean;
}

/**
 * Has the engine say a phrase, and once more when it failed in a way that may pass. Resolves as
 * `take` does for the try that came through. Throws PhraseFailed; what `take` throws; and
 * `signal.reason` once the signal aborted.
 */
export async function speakWithRetry<Result>({
  engine,
  phrase,
  cached,
  signal,
  take,
  mayRepeat,
}: PhraseTries<Result>): Promise<Result> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      const pcm = phraseAudio(engine, phrase, signal);
      return await take(cached?.collect(pcm) ?? pcm);
    } catch (thrown) {
      if (!(thrown instanceof PhraseFailed)) throw thrown;
      const { error } = thrown;
      if (attempt === TRIES || !error.definition.retryable || !mayRepeat(error)) throw thrown;
    }
  }
}
