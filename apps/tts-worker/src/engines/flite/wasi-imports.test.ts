import { beforeEach, describe, expect, it } from 'vitest';
import { IN_PATH, OUT_PATH, ProgramExit, WasiImports } from './wasi-imports.ts';

const BAD_FD = 8;
const NO_ENTRY = 44;
const CREATE = 1;
const CREATE_ANEW = 9;
/** Where things lie in the memory of these tests. */
const AT = { result: 0, vectors: 16, path: 64, first: 128, second: 256 };

let memory: { buffer: ArrayBuffer };
let imports: WasiImports;
let written: string[];

const view = () => new DataView(memory.buffer);
const read32 = (at: number): number => view().getUint32(at, true);
const readText = (at: number, length: number): string =>
  Buffer.from(memory.buffer, at, length).toString();

function call(name: string, ...values: (number | bigint)[]): unknown {
  const found = imports.table[name] as ((...given: unknown[]) => unknown) | undefined;
  if (!found) throw new Error(`no call ${name}`);
  return found(...values);
}

function open(path: string, flags = 0): unknown {
  const bytes = Buffer.from(path);
  new Uint8Array(memory.buffer).set(bytes, AT.path);
  return call('path_open', 3, 0, AT.path, bytes.length, flags, 0n, 0n, 0, AT.result);
}

/** Two pieces of memory, of these lengths. */
function setVectors(first: number, second: number): void {
  for (const [index, value] of [AT.first, first, AT.second, second].entries())
    view().setUint32(AT.vectors + index * 4, value, true);
}

function write(fd: number, text: string): unknown {
  new Uint8Array(memory.buffer).set(Buffer.from(text), AT.first);
  setVectors(text.length, 0);
  return call('fd_write', fd, AT.vectors, 2, AT.result);
}

beforeEach(() => {
  memory = { buffer: new ArrayBuffer(65_536) };
  imports = new WasiImports();
  imports.attach(memory);
  written = [];
  imports.begin({
    args: ['flite', '-f'],
    input: Buffer.from('Hello there.'),
    onOutput: (file) => written.push(Buffer.from(file).toString()),
  });
});

describe('the arguments', () => {
  it('are counted and given, each with its end', () => {
    expect(call('args_sizes_get', AT.result, AT.result + 4)).toBe(0);
    expect([read32(AT.result), read32(AT.result + 4)]).toEqual([2, 9]);
    expect(call('args_get', AT.vectors, AT.first)).toBe(0);
    expect(read32(AT.vectors)).toBe(AT.first);
    expect(read32(AT.vectors + 4)).toBe(AT.first + 6);
    expect(readText(AT.first, 9)).toBe('flite\0-f\0');
  });
});

describe('the file that is read', () => {
  it('comes into the pieces of memory in order, and then ends', () => {
    expect(open(IN_PATH)).toBe(0);
    const fd = read32(AT.result);
    setVectors(5, 20);
    expect(call('fd_read', fd, AT.vectors, 2, AT.result)).toBe(0);
    expect(read32(AT.result)).toBe(12);
    expect(readText(AT.first, 5) + readText(AT.second, 7)).toBe('Hello there.');
    expect(call('fd_read', fd, AT.vectors, 2, AT.result)).toBe(0);
    expect(read32(AT.result)).toBe(0);
  });

  it('is sought in from its start, from where it is, and from its end', () => {
    open(IN_PATH);
    const fd = read32(AT.result);
    for (const [offset, whence, place] of [
      [6n, 0, 6n],
      [2n, 1, 8n],
      [-5n, 2, 7n],
    ] as const) {
      expect(call('fd_seek', fd, offset, whence, AT.result)).toBe(0);
      expect(view().getBigUint64(AT.result, true)).toBe(place);
    }
  });

  it('is the only one that is there', () => {
    expect(open('/etc/passwd')).toBe(NO_ENTRY);
    expect(open(OUT_PATH)).toBe(NO_ENTRY);
    expect(open('other.wav', CREATE)).toBe(NO_ENTRY);
  });
});

describe('the file that is written', () => {
  it('is told at each close, as far as it is', () => {
    open(OUT_PATH, CREATE_ANEW);
    const fd = read32(AT.result);
    write(fd, 'head');
    expect(written).toEqual([]);
    expect(call('fd_close', fd)).toBe(0);
    open(OUT_PATH);
    const again = read32(AT.result);
    expect(again).not.toBe(fd);
    call('fd_seek', again, 0n, 2, AT.result);
    write(again, ' and body');
    call('fd_close', again);
    expect(written).toEqual(['head', 'head and body']);
    expect(call('fd_close', again)).toBe(BAD_FD);
  });

  it('begins anew where it is opened so', () => {
    open(OUT_PATH, CREATE_ANEW);
    write(read32(AT.result), 'old');
    open(OUT_PATH, CREATE_ANEW);
    call('fd_close', read32(AT.result));
    expect(written).toEqual(['']);
  });
});

it('keeps the beginning of what is said on stderr', () => {
  for (let line = 0; line < 100; line += 1) write(2, `line ${line} of a long complaint. `);
  expect(imports.stderr).toMatch(/^line 0 of a long complaint\. line 1 /);
  expect(imports.stderr.length).toBeLessThan(600);
});

it('throws at the end of the program, through its frames', () => {
  expect(() => call('proc_exit', 3)).toThrow(ProgramExit);
});

it('forgets open files and what was said when it is reset', () => {
  open(IN_PATH);
  const fd = read32(AT.result);
  write(2, 'oh');
  imports.reset();
  expect(imports.stderr).toBe('');
  expect(call('fd_close', fd)).toBe(BAD_FD);
  open(IN_PATH);
  expect(read32(AT.result)).toBe(fd);
});
