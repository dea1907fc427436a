import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { pipeline } from 'node:stream/promises';

/**
 * The program opens its input by name and cannot open Node's pipes, which are sockets; `cat`
 * gives it a real pipe. The text is constant: what varies is in the arguments, and nothing of a
 * request is among them.
 */
const SCRIPT = 'cat | exec "$0" "$@"';
/** The shell's child is the program: its priority has to be there before it is. */
const BACKGROUND_SCRIPT = 'cat | exec nice -n 19 "$0" "$@"';
const MAX_COMPLAINT_CHARACTERS = 500;
/** Lines of its log that say why it stopped; the others repeat what was said in the recording. */
const COMPLAINT = /^(ERROR|FATAL)\b|not found|denied/;

/** The program ended by itself, and not well. */
export class RecogniserFailure extends Error {
  readonly exitCode: number | null;

  constructor(exitCode: number | null, complaint: string) {
    super(`exit code ${exitCode ?? 'none'}: ${complaint.trim() || 'no reason given'}`);
    this.name = 'RecogniserFailure';
    this.exitCode = exitCode;
  }
}

/** One run of the program: it loads its model at once, then reads audio until it ends. */
export class Recogniser {
  readonly #child: ChildProcess;
  readonly #closed: Promise<unknown>;
  #complaint = '';

  /** `background`: it gives way to all else on this machine. */
  constructor(path: string, programArguments: string[], { background = false } = {}) {
    const script = background ? BACKGROUND_SCRIPT : SCRIPT;
    // Its own process group, so that `cat` and the program die in one stroke. Should this process
    // be killed, their input ends and they with it.
    this.#child = spawn('/bin/sh', ['-c', script, path, ...programArguments], { detached: true });
    this.#closed = once(this.#child, 'close').catch((error: unknown) => {
      this.#complain(String(error));
    });
    this.#child.stdin?.on('error', () => {});
    if (this.#child.stderr === null) return;
    createInterface({ input: this.#child.stderr }).on('line', (line) => {
      if (COMPLAINT.test(line)) this.#complain(line);
    });
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /**
   * Feeds s16le mono at 16 kHz and yields the lines that the program prints, as it prints them.
   * Throws `signal.reason`, what the audio throws, or a RecogniserFailure. Program and audio are
   * gone when this returns.
   */
  async *lines(
    openAudio: (signal: AbortSignal) => AsyncIterable<Uint8Array>,
    signal: AbortSignal,
  ): AsyncIterable<string> {
    const { stdin, stdout } = this.#child;
    if (stdin === null || stdout === null) throw new RecogniserFailure(null, this.#complaint);
    const ended = new AbortController();
    const stop = AbortSignal.any([signal, ended.signal]);
    const kill = () => this.#kill();
    stop.addEventListener('abort', kill);
    if (stop.aborted) kill();
    const feeding = pipeline(openAudio(stop), stdin, { signal: stop }).then(
      () => undefined,
      (error: unknown) => {
        // What it may still say is not the whole recording.
        this.#kill();
        return { error };
      },
    );
    try {
      yield* createInterface({ input: stdout });
      const feedingFailure = await feeding;
      await this.#closed;
      signal.throwIfAborted();
      const { exitCode } = this.#child;
      if (feedingFailure !== undefined && !isBrokenPipe(feedingFailure.error)) {
        throw feedingFailure.error;
      }
      if (feedingFailure !== undefined || exitCode !== 0) {
        throw new RecogniserFailure(exitCode, this.#complaint);
      }
    } finally {
      ended.abort();
      stop.removeEventListener('abort', kill);
      await Promise.all([feeding, this.#closed]);
    }
  }

  /** Kills the program at once; resolves when it is gone. */
  async stop(): Promise<void> {
    this.#kill();
    await this.#closed;
  }

  #kill(): void {
    const { pid } = this.#child;
    if (pid === undefined || !this.running) return;
    try {
      process.kill(-pid, 'SIGKILL');
    } catch {
      // It ended in the meantime.
    }
  }

  #complain(line: string): void {
    this.#complaint = `${this.#complaint}${line}\n`.slice(-MAX_COMPLAINT_CHARACTERS);
  }
}

/**
 * The program died while it was fed: its exit code says more. A write fails with EPIPE, ECONNRESET
 * or, when the pipe is closed under it, ECANCELED.
 */
function isBrokenPipe(error: unknown): boolean {
  const { code, syscall } = Object(error) as NodeJS.ErrnoException;
  return syscall === 'write' || syscall === 'shutdown' || String(code).startsWith('ERR_STREAM_');
}
