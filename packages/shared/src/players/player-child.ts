import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';
import { scrub } from '../runtime/logger.ts';
import type { PlayerProgram } from './player-program.ts';

const MAX_STDERR_CHARACTERS = 2000;
const MAX_LINE_CHARACTERS = 200;
const LAST_WORDS_MS = 100;
/** Of setpriv and of shells: there is no such program. */
const NOT_FOUND = 127;

/** How a program ended, in the operator's words. */
export interface PlayerExit {
  ok: boolean;
  /** There is no such program. */
  missing: boolean;
  /** `ended with code 1: audio open error: No such file or directory`. */
  words: string;
}

/** A running program that plays what is written to it. */
export interface PlayerChild {
  readonly stdin: Writable;
  /** Never rejects. */
  readonly exit: Promise<PlayerExit>;
  /** SIGKILL: on anything milder, programs play to the end what they hold. */
  kill(): void;
}

export interface PlayerChildOptions {
  program: PlayerProgram;
  sampleRateHz: number;
  /** `setpriv` is there: the program dies with this process, however that dies. */
  mortal: boolean;
}

/**
 * Starts one program for one playback. Where it is not `mortal`, and in the instant before it is,
 * the death of this process closes its input: it ends by itself after what the pipe holds.
 */
export function startPlayer({ program, sampleRateHz, mortal }: PlayerChildOptions): PlayerChild {
  const command: Command = [program.path, ...program.args(sampleRateHz)];
  const [path, ...args]: Command = mortal ? [...MORTAL, ...command] : command;
  const child = spawn(path, args, { stdio: ['pipe', 'ignore', 'pipe'] });
  const stderr = collectStderr(child);
  // A program that is gone shows as its exit; unhandled, EPIPE would end this process.
  child.stdin.on('error', () => undefined);
  const exit = once(child, 'close').then(
    ([code, signal]) => describeExit(program, (signal ?? code) as number | string, stderr()),
    (error: NodeJS.ErrnoException) => ({
      ok: false,
      missing: error.code === 'ENOENT',
      words: `does not start (${error.code ?? error.message})`,
    }),
  );
  return {
    stdin: child.stdin,
    exit,
    kill: () => {
      child.kill('SIGKILL');
      // What it said last may still lie in the pipe, which a child of its own may hold open.
      setTimeout(() => child.stderr.destroy(), LAST_WORDS_MS).unref();
    },
  };
}

type Command = [path: string, ...args: string[]];
const MORTAL: Command = ['setpriv', '--pdeathsig', 'KILL', '--'];

/** Whether this system has the program that ties a child's life to ours (Linux). */
export async function hasSetpriv(): Promise<boolean> {
  const [setpriv, ...args] = MORTAL;
  const child = spawn(setpriv, [...args, 'true'], { stdio: 'ignore' });
  return once(child, 'exit').then(
    ([code]) => code === 0,
    () => false,
  );
}

function describeExit(
  { complaint }: PlayerProgram,
  exit: number | string,
  stderr: string,
): PlayerExit {
  const line = stderr.trim().split('\n').at(-1) ?? '';
  const said = line === '' ? '' : `: ${scrub(line).slice(0, MAX_LINE_CHARACTERS)}`;
  return {
    ok: exit === 0 && !(complaint?.test(stderr) ?? false),
    missing: exit === NOT_FOUND,
    words: `ended with ${typeof exit === 'number' ? 'code ' : ''}${exit}${said}`,
  };
}

/** The end of it: the reason stands last. */
function collectStderr(child: ChildProcessByStdio<Writable, null, Readable>): () => string {
  let text = '';
  child.stderr.setEncoding('utf8');
  child.stderr.on('data', (piece: string) => {
    text = (text + piece).slice(-MAX_STDERR_CHARACTERS);
  });
  return () => text;
}
