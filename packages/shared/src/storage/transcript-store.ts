import { createHash } from 'node:crypto';
import type { Redis } from 'ioredis';
import { z } from 'zod';
import { throwStoreFault } from './store-fault.ts';

const transcriptSchema = z.object({
  text: z.string(),
  /** Seconds of audio. */
  durationSeconds: z.number(),
});
export type KeptTranscript = z.output<typeof transcriptSchema>;

export interface Recording {
  tenantId: string;
  /** By the engine's name: another one may hear something else. */
  model: string;
  /** Of the file's bytes. */
  sha256: string;
}

/**
 * What was heard in recordings, by their content: a client sends the whole conversation at every
 * turn, and what it said before is not transcribed again. All methods reject with
 * `queue_unavailable` or `storage_full`.
 */
export class TranscriptStore {
  readonly #redis: Redis;

  constructor(redis: Redis) {
    this.#redis = redis;
  }

  keyOf({ tenantId, model, sha256 }: Recording): string {
    const hash = createHash('sha256').update(`${sha256} ${model}`).digest('hex');
    return `${prefixOf(tenantId)}${hash}`;
  }

  /** Whether `keyOf` could have made it for this tenant: no other one's transcript may be asked for. */
  isKeyOf(tenantId: string, key: string): boolean {
    const prefix = prefixOf(tenantId);
    return key.startsWith(prefix) && HASH.test(key.slice(prefix.length));
  }

  /**
   * In the order of `keys`; undefined for what is not known. With `keepMs`, what is found lives for
   * so long from now on: it must not vanish between this answer and the job that reads it.
   */
  async find(keys: string[], keepMs?: number): Promise<(KeptTranscript | undefined)[]> {
    const found = keys.map((key) =>
      keepMs === undefined ? this.#redis.get(key) : this.#redis.getex(key, 'PX', keepMs),
    );
    const values = await Promise.all(found).catch(throwStoreFault);
    return values.map((value) => parseTranscript(value));
  }

  async keep(key: string, transcript: KeptTranscript, keepMs: number): Promise<void> {
    const { text, durationSeconds } = transcript;
    const value = JSON.stringify({ text, durationSeconds });
    await this.#redis.set(key, value, 'PX', keepMs).catch(throwStoreFault);
  }
}

const HASH = /^[0-9a-f]{64}$/;

const prefixOf = (tenantId: string): string => `antiphon:transcript:${tenantId}:`;

/** Another version may have written it: what cannot be read is transcribed again. */
function parseTranscript(value: string | null): KeptTranscript | undefined {
  if (value === null) return undefined;
  try {
    return transcriptSchema.safeParse(JSON.parse(value)).data;
  } catch {
    return undefined;
  }
}
