import { type Logger, pino } from 'pino';
import { ERROR_CATALOG } from '../errors/error-catalog.ts';
import { VoiceError } from '../errors/voice-error.ts';
import { logContext } from './log-context.ts';

export type { Logger };

const SECRET = /\b(?:sk|pk|rk|gsk|xai|hf)[-_][\w*.-]{6,}|Bearer\s+\S+|(\/\/[^:@/\s]*:)[^@/\s]+@/gi;

/** Keys and passwords out of a text that somebody else wrote. */
export function scrub(text: string): string {
  return text.replace(SECRET, (_found, userInUrl?: string) =>
    userInUrl === undefined ? '[secret]' : `${userInUrl}[secret]@`,
  );
}

/** What may be written of an error, anywhere. */
export interface LoggedError {
  type: string;
  message: string;
  code?: string;
  stack?: string;
  cause?: LoggedError | string;
}

/**
 * Only these fields: ioredis puts a command's arguments (prompts, the Redis password) on its
 * errors, the openai SDK headers and bodies. Messages that quote what they are about lose it.
 */
export function loggedError(error: unknown, depth = 0): LoggedError | string {
  if (!(error instanceof Error)) return scrub(String(error));
  const { code } = error as NodeJS.ErrnoException;
  const stack = error instanceof VoiceError ? undefined : framesOf(error);
  return {
    type: error.name,
    message: scrub(messageOf(error)),
    ...(code === undefined ? {} : { code }),
    ...(stack === undefined ? {} : { stack }),
    ...(error.cause === undefined || depth >= 2
      ? {}
      : { cause: loggedError(error.cause, depth + 1) }),
  };
}

const MOST_MESSAGE_CHARACTERS = 500;

function messageOf(error: Error): string {
  const message = error.message.slice(0, MOST_MESSAGE_CHARACTERS);
  // A refusal quotes the request, an upstream's words may: the catalog's sentence says as much.
  if (error instanceof VoiceError) {
    const quotes = error.definition.status < 500 || error.code === 'upstream_error';
    return quotes ? ERROR_CATALOG[error.code].message : message;
  }
  // "Unexpected token 'H', "Hello, my "... is not valid JSON"
  if (error instanceof SyntaxError) return 'cannot be parsed';
  // "ERR unknown command 'X', with args beginning with: 'a prompt' "
  if (error.name === 'ReplyError') return message.replace(/'.*'/s, "'…'");
  return message;
}

/** Without the message, which stands at the top of a stack as well. */
function framesOf({ stack = '' }: Error): string | undefined {
  const frames = stack.split('\n').filter((line) => /^\s+at /.test(line));
  return frames.length === 0 ? undefined : frames.join('\n');
}

/** Lines that wait for a reader of standard output that is slow; later ones are dropped. */
const MOST_WAITING_CHARACTERS = 1_048_576;

/**
 * JSON lines on standard output. Written in the background: pino's default waits inside the event
 * loop for a pipe that nobody empties, and with it every stream of the process.
 */
export function createLogger(name: string, level: string): Logger {
  const destination = pino.destination({
    dest: 1,
    sync: false,
    maxLength: MOST_WAITING_CHARACTERS,
  });
  const options = {
    name,
    level,
    base: { name, pid: process.pid },
    serializers: { err: (error: unknown) => loggedError(error) },
    mixin: () => ({ ...logContext() }),
  };
  return pino(options, destination);
}
