import { ProgramExit, WasiImports, type WasiRun } from './wasi-imports.ts';

/** Memory never shrinks: what one long phrase needed is not kept for all that follow. */
const MAX_KEPT_BYTES = 64 << 20;

/**
 * An instance of a WASI command that makes one file of another. A run leaves the state of `main` in
 * its memory: `reset` before the next.
 */
export class WasiCommand {
  readonly #instance: WebAssembly.Instance;
  readonly #memory: WebAssembly.Memory;
  readonly #readOnlyEnd: number;
  /** What lay above `#readOnlyEnd` before any run. */
  #fresh: Uint8Array | undefined;
  readonly #imports = new WasiImports();
  #returned = false;

  /** `readOnlyEnd`: the command writes nothing below this address. */
  constructor(module: WebAssembly.Module, readOnlyEnd = 0) {
    this.#instance = new WebAssembly.Instance(module, {
      wasi_snapshot_preview1: this.#imports.table,
    });
    this.#memory = this.#instance.exports['memory'] as WebAssembly.Memory;
    this.#imports.attach(this.#memory);
    this.#readOnlyEnd = readOnlyEnd;
  }

  /** What the command said on stderr. */
  get stderr(): string {
    return this.#imports.stderr;
  }

  /** Runs `main` to its end and returns the exit code. Throws `WebAssembly.RuntimeError` on a trap. */
  run(run: WasiRun): number {
    this.#fresh ??= new Uint8Array(this.#memory.buffer).slice(this.#readOnlyEnd);
    this.#returned = false;
    this.#imports.begin(run);
    try {
      (this.#instance.exports['_start'] as () => void)();
      this.#returned = true;
      return 0;
    } catch (thrown) {
      if (thrown instanceof ProgramExit) return thrown.exitCode;
      throw thrown;
    }
  }

  /**
   * Makes it as new: 0.2 ms for flite, where an instance takes 10 to copy its 17 MB of voices.
   * False after a run that did not return: the stack pointer, which nobody can set, is not where it was.
   */
  reset(): boolean {
    if (!this.#returned || !this.#fresh) return false;
    const memory = new Uint8Array(this.#memory.buffer);
    if (memory.byteLength > MAX_KEPT_BYTES) return false;
    memory.set(this.#fresh, this.#readOnlyEnd);
    memory.fill(0, this.#readOnlyEnd + this.#fresh.byteLength);
    this.#imports.reset();
    return true;
  }
}
