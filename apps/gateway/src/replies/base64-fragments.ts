/** Clients join fragments as texts: padding in the middle would cut the sound there, an odd byte would make it noise. */
const FRAGMENT_BYTES = 6;

/** Bytes as base64 fragments of 6n bytes each; only the last may be shorter (contract, section 1.3). */
export class Base64Fragments {
  #waiting: Buffer = Buffer.alloc(0);

  /** What is complete; undefined when that is nothing. */
  push(bytes: Uint8Array): string | undefined {
    const all = this.#waiting.length > 0 ? Buffer.concat([this.#waiting, bytes]) : asBuffer(bytes);
    const length = all.length - (all.length % FRAGMENT_BYTES);
    this.#waiting = all.subarray(length);
    return length === 0 ? undefined : all.toString('base64', 0, length);
  }

  /** The rest; undefined when nothing is left. */
  end(): string | undefined {
    return this.#waiting.length === 0 ? undefined : this.#waiting.toString('base64');
  }
}

const asBuffer = (bytes: Uint8Array): Buffer =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
