/** The part of WebAssembly that is used here: TypeScript has it only with all of the browser's types. */
declare namespace WebAssembly {
  type ImportValue = (...values: never[]) => unknown;

  interface Module {
    readonly [Symbol.toStringTag]: string;
  }

  class Instance {
    readonly exports: Record<string, unknown>;
    constructor(module: Module, imports: Record<string, Record<string, ImportValue>>);
  }

  interface Memory {
    readonly buffer: ArrayBuffer;
  }

  function compile(bytes: Uint8Array): Promise<Module>;
}
