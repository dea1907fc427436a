import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, constants as fileConstants } from 'node:fs/promises';
import { constants, setPriority } from 'node:os';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { VoiceError } from '../errors/voice-error.ts';
import { lowerChildPriority } from '../services/low-priority.ts';

export interface FfmpegOptions {
  /** Name or path; a bare name is looked for in the usual folders, not in our own PATH. */
  ffmpegPath: string;
  args: readonly string[];
  /** For work on what others sent: a folder with nothing in it but what ffmpeg may see. */
  cwd: string;
  /** An open file that it finds as `/dev/fd/3`, where it can seek; closed by the caller. */
  file?: number | undefined;
  /** `low`: below the processes that answer, for work on files; `lowest`: nobody waits for it. */
  priority: 'normal' | 'low' | 'lowest';
}

/** A running ffmpeg, which sees none of our environment and whose complaints are kept short. */
export interface FfmpegProcess {
  readonly stdin: Writable;
  readonly stdout: Readable;
  /** How it ended: never rejects. */
  readonly exit: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  /** The first 4 KB of stderr: for the log, never for clients. */
  complaints(): string;
  /** SIGKILL: ffmpeg finishes its work first on anything milder. */
  kill(): void;
}

const MAX_STDERR_BYTES = 4096;
const ENVIRONMENT = {
  PATH: '/usr/local/bin:/usr/bin:/bin:/opt/homebrew/bin',
  LC_ALL: 'C',
} as const;

/**
 * What a shell allows the program that it becomes: 1 GiB of addresses (decoding takes 0.3), no file
 * longer than nothing (it has its pipes), no core dump, and for work on files ten minutes of CPU: at
 * the soft limit it is told so, at the hard one it would be killed as by anybody. A system that does not know one of them goes without it.
 */
const LIMITS = ['-v 1048576', '-f 0', '-c 0'];
const CPU_LIMITS = ['-S -t 600', '-H -t 610'];

function limitedCommand(priority: FfmpegOptions['priority']): string {
  const limits = priority === 'normal' ? LIMITS : [...LIMITS, ...CPU_LIMITS];
  return `${limits.map((limit) => `ulimit ${limit} 2>/dev/null; `).join('')}exec "$0" "$@"`;
}

/** Starts ffmpeg. Throws `engine_failed`, saying what to install, when there is none. */
export async function startFfmpeg(options: FfmpegOptions): Promise<FfmpegProcess> {
  const program = await findProgram(options.ffmpegPath);
  const ours = ['-nostdin', '-hide_banner'];
  const child = spawn(
    '/bin/sh',
    ['-c', limitedCommand(options.priority), program, ...ours, ...options.args],
    { cwd: options.cwd, env: ENVIRONMENT, stdio: ['pipe', 'pipe', 'pipe', options.file] },
  ) as ChildProcessByStdio<Writable, Readable, Readable>;
  const exit = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve) => {
    child.once('close', (code, signal) => {
      resolve({ code, signal });
    });
  });
  // A reader that is gone shows as the exit; unhandled, EPIPE would end this process.
  child.stdin.on('error', () => {});
  await once(child, 'spawn').catch(throwMissing);
  child.on('error', () => {});
  if (options.priority === 'low') lowerPriority(child.pid);
  if (options.priority === 'lowest') lowerChildPriority(child);
  const complaints = collectComplaints(child);
  return {
    stdin: child.stdin,
    stdout: child.stdout,
    exit,
    complaints,
    kill: () => {
      child.kill('SIGKILL');
    },
  };
}

/** By ourselves, since a shell that does not find it says so too late. */
async function findProgram(nameOrPath: string): Promise<string> {
  const paths = nameOrPath.includes('/')
    ? [nameOrPath]
    : ENVIRONMENT.PATH.split(':').map((folder) => join(folder, nameOrPath));
  let failure: unknown;
  for (const path of paths) {
    try {
      await access(path, fileConstants.X_OK);
      return path;
    } catch (error) {
      failure = error;
    }
  }
  return throwMissing(failure);
}

function throwMissing(cause: unknown): never {
  throw new VoiceError('engine_failed', {
    message:
      'This audio format needs ffmpeg, which the server does not have. The operator has to install it (apt-get install ffmpeg).',
    cause,
  });
}

function lowerPriority(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    setPriority(pid, constants.priority.PRIORITY_BELOW_NORMAL);
  } catch {
    // Gone already; its exit tells the rest.
  }
}

function collectComplaints(child: ChildProcessByStdio<Writable, Readable, Readable>): () => string {
  let text = '';
  child.stderr.setEncoding('utf8');
  child.stderr.on('data', (piece: string) => {
    if (text.length < MAX_STDERR_BYTES) text = (text + piece).slice(0, MAX_STDERR_BYTES);
  });
  return () => text.trim();
}
