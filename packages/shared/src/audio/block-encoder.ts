import { setImmediate as nextTurn } from 'node:timers/promises';
import type { AudioEncoder } from './audio-encoder.ts';
import { BYTES_PER_SAMPLE } from './audio-format.ts';
import { concatenate } from './pcm.ts';

/** A codec that takes blocks of a fixed length, without the event loop in mind. */
export interface BlockCodec {
  readonly blockSamples: number;
  /** Encodes one whole block. Returns what is ready, in memory of its own. */
  encodeBlock(samples: Int16Array): Uint8Array;
  /** Encodes the last block, between 1 and `blockSamples` long (0: there was no audio), and the end. */
  finish(rest: Int16Array): Uint8Array;
  /** Frees what is held. */
  free(): void;
}

/** CPU time after which others get their turn. 20 ms would still not be felt; a block takes up to 5 ms when cold. */
const SLICE_MS = 8;

/**
 * The encoder for a block codec: cuts the input into blocks wherever it was cut before, so that
 * the output depends on the samples alone, and gives way to the event loop between blocks.
 * A whole last block waits for one more sample, or for the end, so that `finish` has one to mark.
 */
export function createBlockEncoder(contentType: string, codec: BlockCodec): AudioEncoder {
  return new BlockEncoder(contentType, codec);
}

class BlockEncoder implements AudioEncoder {
  readonly contentType: string;
  readonly #codec: BlockCodec;
  readonly #block: Int16Array;
  readonly #blockBytes: Uint8Array;
  #filledBytes = 0;
  #closed = false;

  constructor(contentType: string, codec: BlockCodec) {
    this.contentType = contentType;
    this.#codec = codec;
    this.#block = new Int16Array(codec.blockSamples);
    this.#blockBytes = new Uint8Array(this.#block.buffer);
  }

  async encode(pcm: Uint8Array): Promise<Uint8Array> {
    const encoded: Uint8Array[] = [];
    let sliceStartMs = performance.now();
    let offset = 0;
    while (offset < pcm.length && !this.#closed) {
      if (this.#filledBytes === this.#blockBytes.length) {
        encoded.push(this.#codec.encodeBlock(this.#block));
        this.#filledBytes = 0;
        if (performance.now() - sliceStartMs > SLICE_MS) {
          await nextTurn();
          sliceStartMs = performance.now();
        }
      }
      const part = pcm.subarray(offset, offset + this.#blockBytes.length - this.#filledBytes);
      this.#blockBytes.set(part, this.#filledBytes);
      this.#filledBytes += part.length;
      offset += part.length;
    }
    return concatenate(encoded);
  }

  async end(): Promise<Uint8Array> {
    if (this.#closed) return new Uint8Array(0);
    const samples = Math.floor(this.#filledBytes / BYTES_PER_SAMPLE);
    return this.#codec.finish(this.#block.subarray(0, samples));
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#codec.free();
  }
}
