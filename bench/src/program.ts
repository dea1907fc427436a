import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';

const TAIL_CHARACTERS = 4000;
const STOP_PATIENCE_MS = 15_000;
/** `getconf CLK_TCK`, which is 100 on every Linux that Node runs on. */
const CLOCK_TICK_MS = 10;
/** Lets a program die with the bench, even if the bench is killed. */
const SETPRIV = ['/usr/bin/setpriv', '/bin/setpriv'].find((path) => existsSync(path));

export interface ProgramOptions {
  name: string;
  command: string;
  args: string[];
  env: Record<string, string>;
  cwd?: string;
}

/** A program of one side, run to the end of the bench. */
export class Program {
  readonly name: string;
  readonly #child: ChildProcess;
  readonly #gone: Promise<void>;
  #tail = '';

  /** Starts the program; it gets nothing of our environment but PATH and HOME. */
  constructor({ name, command, args, env, cwd }: ProgramOptions) {
    this.name = name;
    const file = SETPRIV ?? command;
    const all = SETPRIV ? ['--pdeathsig', 'TERM', command, ...args] : args;
    this.#child = spawn(file, all, {
      cwd,
      env: { PATH: process.env['PATH'], HOME: process.env['HOME'], ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#gone = promise;
    this.#child.once('exit', () => resolve());
    this.#child.once('error', (error) => {
      this.#tail += error.message;
      resolve();
    });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.on('data', (bytes: Buffer) => {
        this.#tail = (this.#tail + bytes.toString()).slice(-TAIL_CHARACTERS);
      });
    }
  }

  get alive(): boolean {
    const { pid, exitCode, signalCode } = this.#child;
    return pid !== undefined && exitCode === null && signalCode === null;
  }

  /** What it said last, for the message of a failure. */
  get lastWords(): string {
    return `${this.name}: ${this.#tail.trim() || '(silent)'}`;
  }

  /** CPU time used so far by all its threads, in milliseconds; 0 where there is no /proc. */
  get cpuMs(): number {
    return cpuMsOf(this.#child.pid);
  }

  /** The most memory it ever held, in bytes; 0 where there is no /proc. */
  get peakBytes(): number {
    const { pid } = this.#child;
    if (pid === undefined || !existsSync(`/proc/${pid}/status`)) return 0;
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    return Number(/^VmHWM:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) * 1024;
  }

  /** SIGTERM, and SIGKILL if that is not obeyed in time. */
  async stop(): Promise<void> {
    if (!this.alive) return;
    this.#child.kill('SIGTERM');
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), STOP_PATIENCE_MS);
    await this.#gone;
    clearTimeout(timer);
  }
}

function cpuMsOf(pid: number | undefined): number {
  if (pid === undefined || !existsSync(`/proc/${pid}/stat`)) return 0;
  // The name may hold blanks; the fields are counted from behind its bracket. See proc(5).
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)!.split(' ');
  return (Number(fields[11]) + Number(fields[12])) * CLOCK_TICK_MS;
}

/** A TCP port of 127.0.0.1 that is free now. */
export async function freePort(): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const server = createServer().once('error', reject);
  server.listen(0, '127.0.0.1', () => {
    const { port } = server.address() as AddressInfo;
    server.close(() => resolve(port));
  });
  return promise;
}
