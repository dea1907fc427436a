import type { ErrorCode } from '../errors/error-catalog.ts';
import { VoiceError } from '../errors/voice-error.ts';

/** Of who is asked too much at the moment, or of our own stores: the line is not at fault. */
const BUSY = new Set<ErrorCode>([
  'rate_limit_exceeded',
  'server_is_overloaded',
  'queue_unavailable',
  'storage_full',
]);
const BUSY_DELAY_MS = 5000;
const MAX_DELAY_MS = 60_000;
/** Added at random, so that lines that were refused together do not come again together. */
const JITTER = 0.5;

/** Whether it helps to wait, however often; such a try is not counted. */
export const isBusy = (error: VoiceError): boolean =>
  BUSY.has(error.code) || (error.definition.retryable && error.retryAfterSeconds !== undefined);

/**
 * Whether the next try may go better. What is no VoiceError may be the disk's or the network's fault;
 * a line that took too long may have stood behind others in its upstream.
 */
export function isWorthTrying(thrown: unknown): boolean {
  if (!(thrown instanceof VoiceError)) return true;
  return thrown.definition.retryable || thrown.code === 'stream_timeout';
}

/** How long a busy upstream is left alone: what it asked for, 60 s at most, else 5 s; up to a half more. */
export function busyDelayMs({ retryAfterSeconds }: VoiceError): number {
  const asked = retryAfterSeconds === undefined ? BUSY_DELAY_MS : retryAfterSeconds * 1000;
  return Math.round(Math.min(MAX_DELAY_MS, asked) * (1 + Math.random() * JITTER));
}
