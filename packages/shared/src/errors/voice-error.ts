import {
  ERROR_CATALOG,
  type ErrorCode,
  type ErrorDefinition,
  isErrorCode,
} from './error-catalog.ts';

export interface VoiceErrorOptions {
  /** What was wrong, with the value, and what to do. Public: no secret, no prompt. */
  message?: string;
  /** The request field at fault, as OpenAI writes it: `messages[0].content`. */
  param?: string | null;
  /** Seconds after which to try again; sent as `Retry-After`, at most 60. */
  retryAfterSeconds?: number;
  /** The reason underneath, for the log only. */
  cause?: unknown;
}

/** OpenAI's error envelope; all four keys are always there (contract, section 9). */
export interface ErrorBody {
  error: { message: string; type: string; param: string | null; code: string | null };
}

/** The form in which an error crosses a stream: between processes of possibly different versions. */
export interface SerializedVoiceError {
  code: string;
  message: string;
  param?: string | null;
  retryAfterSeconds?: number;
}

/** An error with a code from the catalog. Everything a client sees about it is public. */
export class VoiceError extends Error {
  readonly code: ErrorCode;
  readonly param: string | null;
  readonly retryAfterSeconds: number | undefined;

  constructor(code: ErrorCode, options: VoiceErrorOptions = {}) {
    super(options.message ?? ERROR_CATALOG[code].message, { cause: options.cause });
    this.name = 'VoiceError';
    this.code = code;
    this.param = options.param ?? null;
    this.retryAfterSeconds = options.retryAfterSeconds;
  }

  get definition(): ErrorDefinition {
    return ERROR_CATALOG[this.code];
  }

  /** The body for the client. */
  toBody(): ErrorBody {
    const { type, apiCode } = this.definition;
    const code = apiCode === undefined ? this.code : apiCode;
    return { error: { message: this.message, type, param: this.param, code } };
  }

  serialize(): SerializedVoiceError {
    return {
      code: this.code,
      message: this.message,
      ...(this.param === null ? {} : { param: this.param }),
      ...(this.retryAfterSeconds === undefined
        ? {}
        : { retryAfterSeconds: this.retryAfterSeconds }),
    };
  }

  /** A code that this version does not know (rolling restart) becomes `internal_error`. */
  static deserialize(value: SerializedVoiceError): VoiceError {
    const { code, message, param, retryAfterSeconds } = value;
    return new VoiceError(isErrorCode(code) ? code : 'internal_error', {
      message,
      ...(param === undefined ? {} : { param }),
      ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds }),
    });
  }

  /** Any thrown value as a VoiceError; an unknown one is `internal_error` with the cause kept for the log. */
  static from(thrown: unknown, fallback: ErrorCode = 'internal_error'): VoiceError {
    return thrown instanceof VoiceError ? thrown : new VoiceError(fallback, { cause: thrown });
  }
}
