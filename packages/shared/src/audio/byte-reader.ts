import { concatenate } from './pcm.ts';

/** Reads exact numbers of bytes from chunks of any size. */
export class ByteReader {
  readonly #source: AsyncIterator<Uint8Array>;
  #chunk: Uint8Array = new Uint8Array(0);
  #ended = false;

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** The next `count` bytes; fewer only at the end. Memory follows what is there, not `count`. */
  async read(count: number): Promise<Uint8Array> {
    const parts: Uint8Array[] = [];
    let missing = count;
    while (missing > 0 && (await this.#fill())) {
      const part = this.#chunk.subarray(0, missing);
      this.#chunk = this.#chunk.subarray(part.length);
      missing -= part.length;
      parts.push(part);
    }
    return concatenate(parts);
  }

  /** Passes over `count` bytes, or what there is of them. */
  async skip(count: number): Promise<void> {
    let missing = count;
    while (missing > 0 && (await this.#fill())) {
      const passed = Math.min(missing, this.#chunk.length);
      this.#chunk = this.#chunk.subarray(passed);
      missing -= passed;
    }
  }

  /** Gives the source back; nothing can be read after. */
  async close(): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    this.#chunk = new Uint8Array(0);
    await this.#source.return?.();
  }

  async #fill(): Promise<boolean> {
    while (this.#chunk.length === 0 && !this.#ended) {
      const next = await this.#source.next();
      if (next.done) this.#ended = true;
      else this.#chunk = next.value;
    }
    return this.#chunk.length > 0;
  }
}
