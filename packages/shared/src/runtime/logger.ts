import { type Logger, pino } from 'pino';
import { VoiceError } from '../errors/voice-error.ts';

export type { Logger };

const SECRET = /sk-[\w-]{6,}|Bearer\s+\S+|(rediss?:\/\/[^:@/\s]*:)[^@\s]+@/gi;

/** Keys and passwords out of a text that somebody else wrote. */
export function scrub(text: string): string {
  return text.replace(SECRET, (_found, redisPrefix?: string) =>
    redisPrefix === undefined ? '[secret]' : `${redisPrefix}[secret]@`,
  );
}

interface LoggedError {
  type: string;
  message: string;
  code?: string;
  stack?: string;
  cause?: LoggedError | string;
}

/**
 * Only these fields: ioredis puts a command's arguments (prompts, the Redis password) on its
 * errors, the openai SDK headers and bodies.
 */
function serializeError(error: unknown, depth = 0): LoggedError | string {
  if (!(error instanceof Error)) return scrub(String(error));
  const { code } = error as NodeJS.ErrnoException;
  return {
    type: error.name,
    message: scrub(error.message),
    ...(code === undefined ? {} : { code }),
    // A VoiceError is an answer: where it was thrown is of no interest.
    ...(error instanceof VoiceError || error.stack === undefined
      ? {}
      : { stack: scrub(error.stack) }),
    ...(error.cause === undefined || depth >= 2
      ? {}
      : { cause: serializeError(error.cause, depth + 1) }),
  };
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
    serializers: { err: (error: unknown) => serializeError(error) },
  };
  return pino(options, destination);
}
