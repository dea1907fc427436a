import { setFlagsFromString } from 'node:v8';
import closeWithGrace from 'close-with-grace';
import { ZodError } from 'zod';
import { ConfigError, configFaults } from './load-config.ts';
import { loggedError, scrub } from './logger.ts';

/** A running process: what `run-process` needs to end it. */
export interface RunningProcess {
  /** Stops taking work, lets running work end, then frees everything. */
  close(): Promise<void>;
  /** After so long the process ends anyway, with code 1. */
  closeWithinMs: number;
}

/**
 * V8 collects when the heap, with the buffers allocated since, has grown by a little; our heap is
 * 25 MB and our garbage is buffers. At four times the live heap a flood of tokens costs 3.5 instead
 * of 6.3 µs of CPU each, all processes together (docs/decisions).
 */
const HEAP_GROWING_FLAG = '--heap-growing-percent=300';

/**
 * The frame of every main.ts. A fault at start is one line per fault on standard error, without
 * a secret, and exit code 1; SIGTERM and SIGINT close in order and exit 0.
 */
export async function runProcess(
  name: string,
  start: () => Promise<RunningProcess>,
): Promise<void> {
  setFlagsFromString(HEAP_GROWING_FLAG);
  let running: RunningProcess;
  try {
    running = await start();
  } catch (error) {
    process.stderr.write(
      startFaults(error)
        .map((line) => `${name}: ${line}\n`)
        .join(''),
    );
    process.exit(1);
  }
  closeWithGrace({ delay: running.closeWithinMs, logger: false }, async ({ err }) => {
    if (err) process.stderr.write(`${name}: ${crashText(err)}\n`);
    await running.close();
  });
}

/** What may be told of an error that nobody caught. */
function crashText(error: unknown): string {
  const told = loggedError(error);
  if (typeof told === 'string') return told;
  const { type, message, stack = '', cause } = told;
  const reason =
    cause === undefined ? '' : ` (${typeof cause === 'string' ? cause : cause.message})`;
  return `${type}: ${message}${reason}\n${stack}`.trimEnd();
}

type ListenError = NodeJS.ErrnoException & { port?: number; address?: string };

const hostname = (error: unknown): string => String((error as { hostname?: unknown }).hostname);

function startFaults(error: unknown): string[] {
  if (error instanceof ConfigError) return error.lines;
  if (error instanceof ZodError) return configFaults(error);
  const { code, syscall, port, address, message } = error as ListenError;
  if (code === 'EADDRINUSE') return [`PORT: port ${port} is in use; choose another`];
  if (syscall === 'listen' && code === 'EACCES')
    return [`PORT: port ${port} is not allowed to this user; choose one above 1023`];
  if (code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND')
    return [`HOST: this machine has no address ${address ?? hostname(error)}`];
  return [scrub(message).split('\n', 1)[0] ?? 'unknown error'];
}
