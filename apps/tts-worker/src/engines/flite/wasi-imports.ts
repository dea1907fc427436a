/**
 * What a WASI command sees of the world: its arguments, one text file in memory, one that it writes.
 * Not `node:wasi`: that one needs real folders for its files, prints an experimental warning in every
 * thread, and gives the output only at the end. Only the thirteen calls that flite imports are here;
 * anything else fails at instantiation.
 */

import { MemoryFile } from './memory-file.ts';

/** What the command reads as file `IN_PATH` and writes as `OUT_PATH`. */
export const IN_PATH = 'in.txt';
export const OUT_PATH = 'out.wav';

export interface WasiRun {
  args: string[];
  input: Uint8Array;
  /** Called each time the command closes the output file, with the whole file so far. */
  onOutput: (file: Uint8Array) => void;
}

/** The WASI error numbers used here (preview 1). */
const OK = 0;
const BAD_FD = 8;
const NO_ENTRY = 44;

const STDERR_FD = 2;
const ROOT_FD = 3;
const ROOT_NAME = new TextEncoder().encode('.');
const CREATE_FLAG = 1;
const TRUNCATE_FLAG = 8;
const FILE_TYPES = { characterDevice: 2, directory: 3, regularFile: 4 };
const ALL_RIGHTS = 0x1fffffffn;
/** Enough of stderr to say what went wrong. */
const MAX_STDERR_CHARACTERS = 500;

/** Thrown through the command's frames by `proc_exit`. */
export class ProgramExit extends Error {
  readonly exitCode: number;

  constructor(exitCode: number) {
    super(`exit ${exitCode}`);
    this.exitCode = exitCode;
  }
}

interface OpenFile {
  file: MemoryFile;
  position: number;
}

/** The calls of one instance, which is made with them: only then is there a memory to `attach`. */
export class WasiImports {
  readonly #openFiles = new Map<number, OpenFile>();
  #memory: WebAssembly.Memory | undefined;
  #files = new Map<string, MemoryFile>();
  #run: WasiRun | undefined;
  #args: Uint8Array[] = [];
  #nextFd = ROOT_FD + 1;
  #stderr = '';

  /** What the command said on stderr. */
  get stderr(): string {
    return this.#stderr;
  }

  attach(memory: WebAssembly.Memory): void {
    this.#memory = memory;
  }

  /** What the next run is about. */
  begin(run: WasiRun): void {
    this.#run = run;
    this.#args = run.args.map((arg) => new TextEncoder().encode(`${arg}\0`));
    this.#files = new Map([[IN_PATH, new MemoryFile(run.input)]]);
  }

  /** Forgets the last run. */
  reset(): void {
    this.#openFiles.clear();
    this.#nextFd = ROOT_FD + 1;
    this.#stderr = '';
  }

  get table(): Record<string, WebAssembly.ImportValue> {
    return {
      args_sizes_get: this.#argsSizesGet,
      args_get: this.#argsGet,
      clock_time_get: this.#clockTimeGet,
      fd_close: this.#fdClose,
      fd_fdstat_get: this.#fdStatGet,
      fd_fdstat_set_flags: () => OK,
      fd_prestat_get: this.#preopenGet,
      fd_prestat_dir_name: this.#preopenName,
      fd_read: this.#fdRead,
      fd_seek: this.#fdSeek,
      fd_write: this.#fdWrite,
      path_open: this.#pathOpen,
      proc_exit: (exitCode: number) => {
        throw new ProgramExit(exitCode);
      },
    };
  }

  /** Anew each time: memory that grows is another buffer. */
  get #buffer(): ArrayBuffer {
    if (!this.#memory) throw new Error('a call before the instance is there');
    return this.#memory.buffer;
  }

  get #view(): DataView {
    return new DataView(this.#buffer);
  }

  readonly #argsSizesGet = (countAt: number, bytesAt: number): number => {
    const total = this.#args.reduce((sum, arg) => sum + arg.byteLength, 0);
    this.#view.setUint32(countAt, this.#args.length, true);
    this.#view.setUint32(bytesAt, total, true);
    return OK;
  };

  readonly #argsGet = (pointersAt: number, bytesAt: number): number => {
    let at = bytesAt;
    for (const [index, arg] of this.#args.entries()) {
      this.#view.setUint32(pointersAt + index * 4, at, true);
      new Uint8Array(this.#buffer).set(arg, at);
      at += arg.byteLength;
    }
    return OK;
  };

  /** Always the same time: whatever flite makes of it must not change the audio. */
  readonly #clockTimeGet = (_id: number, _precision: bigint, timeAt: number): number => {
    this.#view.setBigUint64(timeAt, 0n, true);
    return OK;
  };

  readonly #fdClose = (fd: number): number => {
    const open = this.#openFiles.get(fd);
    if (open === undefined) return BAD_FD;
    this.#openFiles.delete(fd);
    if (open.file === this.#files.get(OUT_PATH)) this.#run?.onOutput(open.file.contents);
    return OK;
  };

  readonly #fdStatGet = (fd: number, statAt: number): number => {
    const type =
      fd < ROOT_FD
        ? FILE_TYPES.characterDevice
        : fd === ROOT_FD
          ? FILE_TYPES.directory
          : FILE_TYPES.regularFile;
    const view = this.#view;
    view.setUint8(statAt, type);
    view.setUint16(statAt + 2, 0, true);
    view.setBigUint64(statAt + 8, ALL_RIGHTS, true);
    view.setBigUint64(statAt + 16, ALL_RIGHTS, true);
    return OK;
  };

  readonly #preopenGet = (fd: number, at: number): number => {
    if (fd !== ROOT_FD) return BAD_FD;
    this.#view.setUint8(at, 0);
    this.#view.setUint32(at + 4, ROOT_NAME.byteLength, true);
    return OK;
  };

  readonly #preopenName = (fd: number, at: number, length: number): number => {
    if (fd !== ROOT_FD) return BAD_FD;
    new Uint8Array(this.#buffer).set(ROOT_NAME.subarray(0, length), at);
    return OK;
  };

  #vectors(at: number, count: number): Uint8Array[] {
    const view = this.#view;
    return Array.from({ length: count }, (_, index) => {
      const start = view.getUint32(at + index * 8, true);
      const length = view.getUint32(at + index * 8 + 4, true);
      return new Uint8Array(this.#buffer, start, length);
    });
  }

  readonly #fdRead = (fd: number, at: number, count: number, readAt: number): number => {
    const open = this.#openFiles.get(fd);
    let readBytes = 0;
    for (const vector of open === undefined ? [] : this.#vectors(at, count)) {
      const { file, position } = open as OpenFile;
      const piece = file.contents.subarray(position, position + vector.byteLength);
      vector.set(piece);
      (open as OpenFile).position += piece.byteLength;
      readBytes += piece.byteLength;
    }
    this.#view.setUint32(readAt, readBytes, true);
    return OK;
  };

  readonly #fdWrite = (fd: number, at: number, count: number, writtenAt: number): number => {
    const open = this.#openFiles.get(fd);
    let writtenBytes = 0;
    for (const vector of this.#vectors(at, count)) {
      if (open !== undefined) {
        open.file.write(open.position, vector);
        open.position += vector.byteLength;
      } else if (fd === STDERR_FD && this.#stderr.length < MAX_STDERR_CHARACTERS) {
        this.#stderr += new TextDecoder().decode(vector);
      }
      writtenBytes += vector.byteLength;
    }
    this.#view.setUint32(writtenAt, writtenBytes, true);
    return OK;
  };

  readonly #fdSeek = (fd: number, offset: bigint, whence: number, resultAt: number): number => {
    const open = this.#openFiles.get(fd);
    if (open === undefined) return BAD_FD;
    const base = [0, open.position, open.file.size][whence] ?? 0;
    open.position = base + Number(offset);
    this.#view.setBigUint64(resultAt, BigInt(open.position), true);
    return OK;
  };

  readonly #pathOpen = (
    ...values: [number, number, number, number, number, ...unknown[]]
  ): number => {
    const [, , pathAt, pathLength, flags] = values;
    const fdAt = values[8] as number;
    const path = new TextDecoder().decode(new Uint8Array(this.#buffer, pathAt, pathLength).slice());
    let file = this.#files.get(path);
    if (path === OUT_PATH && ((flags & TRUNCATE_FLAG) !== 0 || file === undefined)) {
      if ((flags & (CREATE_FLAG | TRUNCATE_FLAG)) === 0) return NO_ENTRY;
      file = new MemoryFile(new Uint8Array(0));
      this.#files.set(path, file);
    }
    if (file === undefined) return NO_ENTRY;
    const fd = this.#nextFd++;
    this.#openFiles.set(fd, { file, position: 0 });
    this.#view.setUint32(fdAt, fd, true);
    return OK;
  };
}
