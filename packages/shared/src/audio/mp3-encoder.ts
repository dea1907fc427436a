import { readFile } from 'node:fs/promises';
import { createEncoder, type WasmMediaEncoder } from 'wasm-media-encoders';
import type { AudioEncoder } from './audio-encoder.ts';
import { CONTENT_TYPES, SAMPLE_RATE_HZ } from './audio-format.ts';
import { type BlockCodec, createBlockEncoder } from './block-encoder.ts';

/** Node has it, its types do not (they leave it to the browser's). */
declare const WebAssembly: { compile(bytes: Uint8Array): Promise<WasmModule> };
type WasmModule = Extract<Parameters<typeof createEncoder>[1], object>;
type Lame = WasmMediaEncoder<'audio/mpeg'>;

/** Mono speech: constant, so that players can seek in a body without a table of contents. */
const BITRATE_KILOBITS_PER_SECOND = 64;
/** One MPEG-2 layer III frame, 24 ms. */
const FRAME_SAMPLES = 576;

let compiled: Promise<WasmModule> | undefined;
let spare: Promise<Lame> | undefined;

/** Compiles once per process; a failed read is tried again. */
async function compileLame(): Promise<WasmModule> {
  compiled ??= readFile(new URL(import.meta.resolve('wasm-media-encoders/wasm/mp3')))
    .then((bytes) => WebAssembly.compile(bytes))
    .catch((error: unknown) => {
      compiled = undefined;
      throw error;
    });
  return compiled;
}

/** An own instance for each answer: LAME's memory is the instance's, and goes with it. */
async function createLame(): Promise<Lame> {
  const lame = await createEncoder('audio/mpeg', await compileLame());
  lame.configure({
    channels: 1,
    sampleRate: SAMPLE_RATE_HZ,
    bitrate: BITRATE_KILOBITS_PER_SECOND,
  });
  return lame;
}

/**
 * Takes the spare encoder and makes the next one when the event loop is free. LAME needs 2 to
 * 5 ms for its tables, which would lie in the way of the first byte of every answer.
 */
async function takeLame(): Promise<Lame> {
  const taken = spare ?? createLame();
  spare = undefined;
  setImmediate(prepareSpare);
  return taken;
}

function prepareSpare(): void {
  if (spare) return;
  spare = createLame();
  // A failure is for whoever takes the next one; the one after that tries again.
  spare.catch(() => {});
}

/**
 * MP3 frames without Xing or ID3 header, so that bodies can be joined. A decoder gives back the
 * input after 1105 samples of silence (46 ms: LAME's and the decoder's delay), filled to whole frames.
 */
export async function createMp3Encoder(): Promise<AudioEncoder> {
  return createBlockEncoder(CONTENT_TYPES.mp3, new Mp3Codec(await takeLame()));
}

class Mp3Codec implements BlockCodec {
  readonly blockSamples = FRAME_SAMPLES;
  readonly #floats = new Float32Array(FRAME_SAMPLES);
  #lame: Lame | undefined;

  constructor(lame: Lame) {
    this.#lame = lame;
  }

  encodeBlock(samples: Int16Array): Uint8Array {
    if (!this.#lame) return new Uint8Array(0);
    for (let index = 0; index < samples.length; index += 1) {
      this.#floats[index] = (samples[index] ?? 0) / 32_768;
    }
    // What the encoder returns is a view of its memory, written over by the next call.
    return this.#lame.encode([this.#floats.subarray(0, samples.length)]).slice();
  }

  finish(rest: Int16Array): Uint8Array {
    const last = rest.length > 0 ? this.encodeBlock(rest) : new Uint8Array(0);
    const flushed = this.#lame?.finalize() ?? new Uint8Array(0);
    const joined = new Uint8Array(last.length + flushed.length);
    joined.set(last);
    joined.set(flushed, last.length);
    return joined;
  }

  free(): void {
    this.#lame = undefined;
  }
}
