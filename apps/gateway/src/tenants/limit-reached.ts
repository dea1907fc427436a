import type { ErrorDefinition } from '@antiphon/shared/errors/error-catalog';
import { VoiceError, type VoiceErrorOptions } from '@antiphon/shared/errors/voice-error';
import type { RateUnit, RateUsage } from './rate-limits.ts';

/** A limit of a key refused a request: 429 in OpenAI's words, with OpenAI's headers. */
export class LimitReached extends VoiceError {
  /** `x-ratelimit-*` of that limit. */
  readonly headers: Record<string, string>;
  readonly #retryable: boolean;

  constructor(
    options: VoiceErrorOptions,
    { headers, retryable = true }: { headers: Record<string, string>; retryable?: boolean },
  ) {
    super('rate_limit_exceeded', options);
    this.headers = headers;
    this.#retryable = retryable;
  }

  override get definition(): ErrorDefinition {
    return { ...super.definition, retryable: this.#retryable };
  }
}

const UNIT_NAMES: Record<RateUnit, string> = {
  requests: 'requests',
  characters: 'characters of speech',
  'audio-seconds': 'seconds of audio',
};

/** `x-ratelimit-limit-requests` and so on, for any kind of limit. */
export function limitHeaders(
  kind: RateUnit | 'streams' | 'readers' | 'batches',
  { limit, used, resetMs }: RateUsage,
): Record<string, string> {
  return {
    [`x-ratelimit-limit-${kind}`]: String(limit),
    [`x-ratelimit-remaining-${kind}`]: String(Math.max(0, limit - used)),
    [`x-ratelimit-reset-${kind}`]: goDuration(resetMs),
  };
}

/**
 * A limit per minute. What is more than a whole minute of it is never let in, and clients are told
 * not to try again.
 */
export function rateLimited(unit: RateUnit, usage: RateUsage, requested?: number): LimitReached {
  const { limit, used, resetMs } = usage;
  const headers = limitHeaders(unit, usage);
  const asked = requested === undefined ? '' : `, Requested ${requested}`;
  if (requested !== undefined && requested > limit) {
    const message = `Request too large for ${UNIT_NAMES[unit]} per min. Limit ${limit}${asked}. Send less at a time.`;
    return new LimitReached({ message }, { headers, retryable: false });
  }
  const message = `Rate limit reached for ${UNIT_NAMES[unit]} per min. Limit ${limit}, Used ${used}${asked}. Please try again in ${goDuration(resetMs)}.`;
  return new LimitReached({ message, retryAfterSeconds: resetMs / 1000 }, { headers });
}

/** When one of them ends is not known; they are short. */
const STREAM_WAIT_SECONDS = 1;

const KIND_NAMES = { streams: 'concurrent streams', readers: 'readers of streams' } as const;

/** A key has all of what it may have at once. */
export function tooMany(kind: keyof typeof KIND_NAMES, limit: number): LimitReached {
  const message = `Rate limit reached for ${KIND_NAMES[kind]}. Limit ${limit}, Used ${limit}, Requested 1. Please try again when one of them has ended.`;
  const resetMs = STREAM_WAIT_SECONDS * 1000;
  return new LimitReached(
    { message, retryAfterSeconds: STREAM_WAIT_SECONDS },
    { headers: limitHeaders(kind, { limit, used: limit, resetMs }) },
  );
}

/** Batches end hours later, not while a client waits between two tries. */
const BATCH_WAIT_SECONDS = 60;

/** A tenant has as many batches open as it may have. */
export function tooManyBatches(limit: number): LimitReached {
  const message = `Rate limit reached for open batches. Limit ${limit}, Used ${limit}, Requested 1. Please try again when one of them is over, or cancel one.`;
  const resetMs = BATCH_WAIT_SECONDS * 1000;
  return new LimitReached(
    { message, retryAfterSeconds: BATCH_WAIT_SECONDS },
    { headers: limitHeaders('batches', { limit, used: limit, resetMs }), retryable: false },
  );
}

/** As OpenAI's headers write times: `120ms`, `1.2s`, `1m0s`. */
export function goDuration(milliseconds: number): string {
  const whole = Math.max(0, Math.ceil(milliseconds));
  if (whole < 1000) return `${whole}ms`;
  const minutes = Math.floor(whole / 60_000);
  const seconds = `${(whole % 60_000) / 1000}s`;
  return minutes > 0 ? `${minutes}m${seconds}` : seconds;
}
