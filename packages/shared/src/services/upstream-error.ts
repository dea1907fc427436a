import { type ErrorCode } from '../errors/error-catalog.ts';
import { VoiceError } from '../errors/voice-error.ts';

/** What one attempt at an upstream call came to, when it was not an answer. */
export interface UpstreamFailure {
  error: VoiceError;
  /** Whether the same call may succeed a moment later. */
  retryable: boolean;
  /** What the upstream asked for. */
  retryAfterMs?: number;
}

/** An answer with another status than 2xx. Its text stays inside: 401s quote keys. */
export class UpstreamStatusError extends Error {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;

  constructor(status: number, headers: Headers, text: string) {
    super('The upstream answered with an error status');
    this.name = 'UpstreamStatusError';
    this.status = status;
    this.headers = headers;
    this.text = text;
  }
}

const MAX_MESSAGE_CHARACTERS = 1000;
/** The JS SDK ignores a longer `Retry-After` and comes back after half a second. */
const MAX_RETRY_AFTER_SECONDS = 60;

/** What went wrong before there were headers. */
export function transportFailure(thrown: unknown, apiKey: string | undefined): UpstreamFailure {
  const chain = causesOf(thrown);
  const refusal = chain.find((cause) => cause instanceof UpstreamStatusError);
  if (refusal !== undefined) return statusFailure(refusal, apiKey);
  const codes = chain.map((cause) => (cause as NodeJS.ErrnoException).code);
  if (codes.includes('UND_ERR_CONNECT_TIMEOUT') || codes.includes('ETIMEDOUT')) {
    const message = 'The upstream server of this engine could not be reached in time.';
    return failure('upstream_timeout', { message, cause: thrown }, false);
  }
  return failure('upstream_unavailable', { cause: thrown }, true);
}

function statusFailure(refusal: UpstreamStatusError, apiKey: string | undefined): UpstreamFailure {
  const { status, headers } = refusal;
  const shouldRetry = headers.get('x-should-retry') !== 'false';
  const retryAfterMs = retryAfterOf(headers);
  const asked = retryAfterMs === undefined ? {} : { retryAfterMs };
  if (status === 401 || status === 402 || status === 403) {
    return failure('upstream_auth', { cause: refusal }, false);
  }
  if (status === 429) {
    const seconds = Math.min(MAX_RETRY_AFTER_SECONDS, Math.ceil((retryAfterMs ?? 1000) / 1000));
    const retryable = shouldRetry && !refusal.text.includes('insufficient_quota');
    const options = { retryAfterSeconds: Math.max(1, seconds), cause: refusal };
    return { ...failure('rate_limit_exceeded', options, retryable), ...asked };
  }
  if (status === 408 || status === 504) {
    return { ...failure('upstream_timeout', { cause: refusal }, shouldRetry), ...asked };
  }
  if (status >= 500 || status < 400) {
    const retryable = shouldRetry && status >= 500;
    return { ...failure('upstream_unavailable', { cause: refusal }, retryable), ...asked };
  }
  return failure(
    'upstream_rejected',
    { ...complaintOf(refusal.text, apiKey), cause: refusal },
    false,
  );
}

function failure(
  code: ErrorCode,
  options: ConstructorParameters<typeof VoiceError>[1],
  retryable: boolean,
): UpstreamFailure {
  return { error: new VoiceError(code, options), retryable };
}

/** The upstream's own words about a request it refused, fit to be shown: it is the client's request. */
function complaintOf(
  text: string,
  apiKey: string | undefined,
): { message?: string; param?: string } {
  const { message, param, code } = messageIn(parseJson(text));
  if (message === undefined || message === '') return {};
  const named = code === undefined || message.includes(code) ? message : `${message} (${code})`;
  const shown = scrubSecrets(named, apiKey).slice(0, MAX_MESSAGE_CHARACTERS);
  return { message: shown, ...(param === undefined ? {} : { param }) };
}

/** The text of an error frame or body as servers write it: OpenAI, Ollama, FastAPI. */
export function messageIn(body: unknown): { message?: string; param?: string; code?: string } {
  if (typeof body !== 'object' || body === null) return {};
  const { error, detail, message } = body as Record<string, unknown>;
  if (typeof error === 'string') return { message: error };
  if (typeof error === 'object' && error !== null) {
    const { message: text, param, code } = error as Record<string, unknown>;
    return {
      ...(typeof text === 'string' ? { message: text } : {}),
      ...(typeof param === 'string' ? { param } : {}),
      ...(typeof code === 'string' ? { code } : {}),
    };
  }
  if (typeof detail === 'string') return { message: detail };
  if (detail !== undefined) return { message: JSON.stringify(detail) };
  return typeof message === 'string' ? { message } : {};
}

/** Takes out what looks like a key, and the key itself. */
export function scrubSecrets(text: string, apiKey: string | undefined): string {
  const known = apiKey === undefined || apiKey === '' ? text : text.replaceAll(apiKey, '***');
  return known
    .replaceAll(/\b(?:sk|pk|rk|gsk|xai|hf)[-_][\w*.-]{6,}/g, '***')
    .replaceAll(/\bBearer\s+[\w.~+/=-]+/gi, 'Bearer ***')
    .replaceAll(/\/\/[^/\s@:]+:[^/\s@]+@/g, '//***@');
}

/** `retry-after-ms`, or `Retry-After` in seconds or as a date. */
function retryAfterOf(headers: Headers): number | undefined {
  const ms = Number(headers.get('retry-after-ms') ?? NaN);
  if (Number.isFinite(ms)) return Math.max(0, ms);
  const value = headers.get('retry-after');
  if (value === null) return undefined;
  const seconds = Number(value);
  if (Number.isFinite(seconds)) return Math.max(0, seconds * 1000);
  const date = Date.parse(value);
  return Number.isNaN(date) ? undefined : Math.max(0, date - Date.now());
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function causesOf(thrown: unknown): Error[] {
  const chain: Error[] = [];
  for (let cause = thrown; cause instanceof Error && chain.length < 10; cause = cause.cause) {
    chain.push(cause);
    if (cause instanceof AggregateError) chain.push(...cause.errors);
  }
  return chain;
}
