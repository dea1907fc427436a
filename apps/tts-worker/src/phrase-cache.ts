import { createHash } from 'node:crypto';
import { concatenate } from '@antiphon/shared/audio/pcm';
import type { TTSService } from '@antiphon/shared/services/tts-service';
import type { SpeechCache } from '@antiphon/shared/storage/speech-cache';
import type { PhraseRequest } from './phrase-audio.ts';

/** Raised when the way from an engine's samples to the log's (resampling, trimming) changes. */
const SOUND_VERSION = 2;

/** `tenant`: nobody hears by the time an answer takes what another key has had said. */
export type CacheScope = 'tenant' | 'shared';

/** What the cache knows of one phrase, and what is to be kept of it. */
export interface CachedPhrase {
  /** All of its sound. */
  found: Uint8Array | undefined;
  /** Passes a whole phrase's sound on, and remembers it for `keep`. */
  collect(pcm: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array>;
  /** Once the phrase is whole in its stream. */
  keep(): Promise<void>;
}

/** The sound of phrases that were spoken before, as it goes into the log. */
export class PhraseCache {
  readonly #store: SpeechCache;
  readonly #scope: CacheScope;

  constructor(store: SpeechCache, scope: CacheScope) {
    this.#store = store;
    this.#scope = scope;
  }

  /** Undefined for an engine that does not say what decides its sound. */
  async look(
    engine: TTSService,
    phrase: PhraseRequest & { tenantId: string },
  ): Promise<CachedPhrase | undefined> {
    const { fingerprint } = engine;
    if (fingerprint === undefined) return undefined;
    const id = phraseId(this.#scope === 'tenant' ? phrase.tenantId : '', fingerprint, phrase);
    const found = await this.#store.find(id);
    return { found, ...recording(this.#store, id) };
  }
}

/** Collects no more than the store would take. */
function recording(store: SpeechCache, id: string): Pick<CachedPhrase, 'collect' | 'keep'> {
  let parts: Uint8Array[] | undefined;
  return {
    async *collect(pcm) {
      let byteLength = 0;
      parts = [];
      for await (const part of pcm) {
        byteLength += part.byteLength;
        if (parts && store.takes(byteLength)) parts.push(part);
        else parts = undefined;
        yield part;
      }
    },
    async keep() {
      if (parts) await store.keep(id, concatenate(parts));
    },
  };
}

/** A hash, so that no text stands in a key. */
function phraseId(tenantId: string, fingerprint: string, phrase: PhraseRequest): string {
  const { model, voice, speed, instructions, language, pause, text } = phrase;
  const all = [SOUND_VERSION, tenantId, fingerprint, model, voice, speed];
  const rest = [instructions ?? null, language ?? null, pause ?? null, text];
  return createHash('sha256')
    .update(JSON.stringify([...all, ...rest]))
    .digest('base64url');
}
