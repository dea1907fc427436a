import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';

// oxlint-disable-next-line node/no-process-env -- only tests run this
const { PATH, HOME, NODE_COMPILE_CACHE } = process.env;
const surroundings = { PATH, HOME, NODE_COMPILE_CACHE };

export const MAIN = new URL('../main.ts', import.meta.url).pathname;

/** Standard input stays open. */
export const OPEN = Symbol('open');

export interface CliRun {
  environment?: NodeJS.ProcessEnv;
  /** Standard input; left out: empty and closed. */
  stdin?: string | Uint8Array | typeof OPEN;
  directory?: string;
}

export interface CliOutcome {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stdoutBytes: Buffer;
  stderr: string;
}

export interface RunningCli {
  child: ChildProcessWithoutNullStreams;
  /** What was written so far. */
  written: { stdout: string; stderr: string };
  outcome: Promise<CliOutcome>;
}

/** The real process, with nothing else of this one's environment, and no loudspeaker unless told. */
export function startCli(
  args: string[],
  { environment = {}, stdin, directory }: CliRun = {},
  program: string[] = [process.execPath, MAIN],
): RunningCli {
  const [path = '', ...before] = program;
  const child = spawn(path, [...before, ...args], {
    cwd: directory ?? process.cwd(),
    env: {
      ...surroundings,
      AUDIO_PLAYER: 'none',
      ...environment,
    },
  });
  const written = { stdout: '', stderr: '' };
  const parts: Buffer[] = [];
  child.stdout.on('data', (part: Buffer) => {
    parts.push(part);
    written.stdout = Buffer.concat(parts).toString();
  });
  child.stderr.on('data', (part: Buffer) => (written.stderr += part.toString()));
  // It may end without reading.
  child.stdin.on('error', () => undefined);
  if (stdin !== OPEN) child.stdin.end(stdin ?? '');
  const outcome = once(child, 'close').then(([code, signal]) => ({
    ...written,
    stdoutBytes: Buffer.concat(parts),
    code: code as number | null,
    signal: signal as NodeJS.Signals | null,
  }));
  return { child, written, outcome };
}

export async function runCli(args: string[], run: CliRun = {}): Promise<CliOutcome> {
  return startCli(args, run).outcome;
}
