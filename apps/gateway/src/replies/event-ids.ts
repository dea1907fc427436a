const LINE_FEED = 0x0a;

/**
 * Numbers the events of one answer, 1, 2, 3 …, as `id` lines, and leaves out those that a client
 * has. The numbers say the same on every gateway since the events are the same.
 */
export class EventIds {
  readonly #after: number;
  #number = 0;
  #inFrame = false;
  #lastByte = 0;

  constructor(after: number) {
    this.#after = after;
  }

  /** Takes whole frames, or pieces of one in order; returns what is to be sent of them. */
  mark(frames: Uint8Array): Uint8Array {
    const source = Buffer.from(frames.buffer, frames.byteOffset, frames.byteLength);
    const parts: Uint8Array[] = [];
    for (let start = 0; start < source.length;) {
      if (!this.#inFrame) this.#begin(parts);
      const end = this.#endOfFrame(source, start);
      if (this.#number > this.#after) parts.push(source.subarray(start, end ?? source.length));
      this.#inFrame = end === undefined;
      start = end ?? source.length;
    }
    this.#lastByte = source.at(-1) ?? this.#lastByte;
    return Buffer.concat(parts);
  }

  #begin(parts: Uint8Array[]): void {
    this.#number += 1;
    this.#lastByte = 0;
    if (this.#number > this.#after) parts.push(Buffer.from(`id: ${this.#number}\n`));
  }

  #endOfFrame(source: Buffer, start: number): number | undefined {
    // The two line feeds may lie in two pieces.
    if (start === 0 && this.#lastByte === LINE_FEED && source[0] === LINE_FEED) return 1;
    const found = source.indexOf('\n\n', start);
    return found < 0 ? undefined : found + 2;
  }
}
