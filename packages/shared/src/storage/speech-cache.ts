import { readFileSync } from 'node:fs';
import type { Redis } from 'ioredis';
import { Counter, type Registry } from 'prom-client';
import { LATE, answerWithin } from '../runtime/within.ts';

/** The braces keep its keys in one slot of a Redis cluster. */
const PREFIX = 'antiphon:{speech-cache}:';
/** What an entry takes besides its PCM, in Redis 7: key, value's head, its places in both lists. */
const ENTRY_OVERHEAD_BYTES = 512;
/** 21 s of audio; phrases are shorter. A larger value would hold up the connection that queues use. */
const MAX_PCM_BYTES = 1_048_576;
/** A Redis that takes longer is not waited for: the engine is asked, or the sound not kept. */
const PATIENCE_MS = 250;

interface SpeechScripts {
  antiphonFindSpeechBuffer(...values: string[]): Promise<Buffer | null>;
  antiphonKeepSpeech(...values: (string | number | Uint8Array)[]): Promise<number>;
}

export interface SpeechCacheOptions {
  /** `SPEECH_CACHE_MAX_BYTES`: of all entries; Redis takes 5 to 10 % more for it. */
  maxBytes: number;
  /** `SPEECH_CACHE_TTL_MS`: from when it was made; use does not lengthen it. */
  ttlMs: number;
  /** Where look-ups are counted; left out: nowhere. */
  registry?: Registry;
  /** Redis failed; told once until it works again. */
  onFailure: (error: unknown) => void;
}

/**
 * Sound of phrases (s16le mono at `SAMPLE_RATE_HZ`) by an id that stands for everything that decides
 * it. One bound for all workers and tenants; what was used least lately goes first. No method
 * rejects: a cache that fails is a cache without the entry.
 */
export class SpeechCache {
  readonly #redis: Redis & SpeechScripts;
  readonly #options: SpeechCacheOptions;
  readonly #lookups: Counter;
  #failing = false;

  constructor(redis: Redis, options: SpeechCacheOptions) {
    this.#redis = defineSpeechScripts(redis);
    this.#options = options;
    this.#lookups = new Counter({
      name: 'antiphon_speech_cache_lookups_total',
      help: 'Phrases looked for in the cache of speech; failed: Redis was away, slow or full',
      labelNames: ['result'],
      registers: options.registry ? [options.registry] : [],
    });
    for (const result of ['hit', 'miss', 'failed']) this.#lookups.inc({ result }, 0);
  }

  async find(id: string): Promise<Uint8Array | undefined> {
    const found = await this.#ask(() => this.#redis.antiphonFindSpeechBuffer(...keysOf(id), id));
    this.#lookups.inc({ result: found ? 'hit' : found === null ? 'miss' : 'failed' });
    return found ?? undefined;
  }

  /** Whether it was kept; not what is there already, is empty, longer than 21 s or above the bound. */
  async keep(id: string, pcm: Uint8Array): Promise<boolean> {
    if (pcm.byteLength === 0 || !this.takes(pcm.byteLength)) return false;
    const { ttlMs, maxBytes } = this.#options;
    const value = Buffer.from(pcm.buffer, pcm.byteOffset, pcm.byteLength);
    const limits = [ttlMs, maxBytes, ENTRY_OVERHEAD_BYTES];
    const kept = await this.#ask(() =>
      this.#redis.antiphonKeepSpeech(...keysOf(id), id, value, ...limits),
    );
    return kept === 1;
  }

  /** Whether so many bytes may be kept: beyond it a phrase need not be collected. */
  takes(byteLength: number): boolean {
    return byteLength <= Math.min(MAX_PCM_BYTES, this.#options.maxBytes - ENTRY_OVERHEAD_BYTES);
  }

  /** Undefined when Redis is away, slow or full. */
  async #ask<Answer>(command: () => Promise<Answer>): Promise<Answer | undefined> {
    if (this.#redis.status !== 'ready') return undefined; // it would wait for the connection
    try {
      const answer = await answerWithin(PATIENCE_MS, command());
      this.#failing = false;
      return answer === LATE ? undefined : answer;
    } catch (error) {
      if (!this.#failing) this.#options.onFailure(error);
      this.#failing = true;
      return undefined;
    }
  }
}

const keysOf = (id: string): string[] => [`${PREFIX}${id}`, `${PREFIX}uses`, `${PREFIX}sizes`];

function defineSpeechScripts(redis: Redis): Redis & SpeechScripts {
  for (const name of ['find', 'keep']) {
    const lua = readFileSync(new URL(`${name}-speech.lua`, import.meta.url), 'utf8');
    const command = `antiphon${name === 'find' ? 'Find' : 'Keep'}Speech`;
    if (!(command in redis)) redis.defineCommand(command, { numberOfKeys: 3, lua });
  }
  return redis as Redis & SpeechScripts;
}
