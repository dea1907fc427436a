/** Bytes that grow. */
export class MemoryFile {
  #bytes: Uint8Array;
  size: number;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.size = bytes.byteLength;
  }

  get contents(): Uint8Array {
    return this.#bytes.subarray(0, this.size);
  }

  write(position: number, data: Uint8Array): void {
    const end = position + data.byteLength;
    if (end > this.#bytes.byteLength) {
      const grown = new Uint8Array(Math.max(end, this.#bytes.byteLength * 2, 1 << 16));
      grown.set(this.contents);
      this.#bytes = grown;
    }
    this.#bytes.set(data, position);
    this.size = Math.max(this.size, end);
  }
}
