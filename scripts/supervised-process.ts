import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { signalGroup } from './process-identity.ts';

const FIRST_BACKOFF_MS = 200;
const LAST_BACKOFF_MS = 5000;
/** A process that lived this long starts again at the first backoff. */
const STEADY_AFTER_MS = 30_000;
/** How long the output of a dead process may keep coming before its exit is reported. */
const OUTPUT_TAIL_MS = 250;

export interface ProcessSpec {
  name: string;
  command: readonly [program: string, ...args: string[]];
  env: NodeJS.ProcessEnv;
  cwd: string;
  /** From SIGTERM to SIGKILL of the whole group. */
  stopTimeoutMs: number;
}

export interface ExitReport {
  name: string;
  code: number | null;
  signal: NodeJS.Signals | null;
  livedMs: number;
  /** What is done about it. */
  restartInMs: number;
}

export interface ProcessEvents {
  line(name: string, text: string): void;
  /** It was started, or it and its whole group are gone. */
  pidChanged(): void;
  /** An exit that nobody asked for. False: do not start it again. */
  exit(report: ExitReport): boolean;
}

/**
 * One process that is kept alive: in its own process group, restarted with a backoff of 0.2 to
 * 5 s when it dies, and told to end (SIGTERM) by the kernel when this process dies, however it dies.
 */
export class SupervisedProcess {
  readonly spec: ProcessSpec;
  readonly #events: ProcessEvents;
  #child: ChildProcess | undefined;
  #ended: Promise<void> = Promise.resolve();
  #backoffMs = FIRST_BACKOFF_MS;
  #restart: NodeJS.Timeout | undefined;
  #stopping = false;

  constructor(spec: ProcessSpec, events: ProcessEvents) {
    this.spec = spec;
    this.#events = events;
  }

  /** Undefined between a death and the restart. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  start(): void {
    if (this.#stopping) return;
    const { command, env, cwd } = this.spec;
    const [program, ...args] = endWithParent(command);
    const child = spawn(program, args, {
      cwd,
      env,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child = child;
    this.#events.pidChanged();
    for (const output of [child.stdout, child.stderr]) this.#readLines(output);
    this.#ended = this.#watch(child, performance.now());
  }

  /** Ends it: SIGTERM, after `stopTimeoutMs` SIGKILL. Resolves when nothing of its group is left. */
  async stop(): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#restart);
    const pid = this.#child?.pid;
    if (pid === undefined) return;
    signalGroup(pid, 'SIGTERM');
    const timer = setTimeout(() => signalGroup(pid, 'SIGKILL'), this.spec.stopTimeoutMs);
    await this.#ended;
    clearTimeout(timer);
  }

  /** Kills its group at once. */
  kill(): void {
    this.#stopping = true;
    clearTimeout(this.#restart);
    if (this.#child?.pid !== undefined) signalGroup(this.#child.pid, 'SIGKILL');
  }

  #readLines(output: Readable): void {
    createInterface({ input: output }).on('line', (text) =>
      this.#events.line(this.spec.name, text),
    );
  }

  async #watch(child: ChildProcess, startedAtMs: number): Promise<void> {
    const failedToSpawn = once(child, 'error').then(([error]) => {
      this.#events.line(this.spec.name, String(error));
      return [null, null] as const;
    });
    const exited = new Promise<readonly [number | null, NodeJS.Signals | null]>((resolve) => {
      child.once('exit', (code, signal) => resolve([code, signal]));
    });
    const closed = new Promise((resolve) => child.once('close', resolve));
    const [code, signal] = await Promise.race([exited, failedToSpawn]);
    // What it started may outlive it: an ffmpeg, a speech engine.
    if (child.pid !== undefined) signalGroup(child.pid, 'SIGKILL');
    const tail = new AbortController();
    await Promise.race([closed, delay(OUTPUT_TAIL_MS, undefined, { signal: tail.signal })]);
    tail.abort();
    this.#child = undefined;
    this.#events.pidChanged();
    if (!this.#stopping)
      this.#afterExit({ code, signal, livedMs: performance.now() - startedAtMs });
  }

  #afterExit(exit: Pick<ExitReport, 'code' | 'signal' | 'livedMs'>): void {
    if (exit.livedMs >= STEADY_AFTER_MS) this.#backoffMs = FIRST_BACKOFF_MS;
    const restartInMs = this.#backoffMs;
    this.#backoffMs = Math.min(LAST_BACKOFF_MS, this.#backoffMs * 2);
    if (!this.#events.exit({ ...exit, name: this.spec.name, restartInMs })) return;
    this.#restart = setTimeout(() => this.start(), restartInMs);
  }
}

/**
 * A command that gets SIGTERM when the process that starts it dies. The shell compares the parent
 * after the signal is armed, for a death in between; all of it is `exec`, so the pid is the program's own.
 */
function endWithParent(command: readonly string[]): [string, ...string[]] {
  const check = 'test "$PPID" = "$0" || exit 1; exec "$@"';
  return ['setpriv', '--pdeathsig', 'TERM', '--', 'sh', '-c', check, `${process.pid}`, ...command];
}
