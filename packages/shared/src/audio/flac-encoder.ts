import type * as Flac from 'libflacjs/dist/libflac.min.js';
import type { AudioEncoder } from './audio-encoder.ts';
import { CONTENT_TYPES, SAMPLE_RATE_HZ } from './audio-format.ts';
import { type BlockCodec, createBlockEncoder } from './block-encoder.ts';
import { VoiceError } from '../errors/voice-error.ts';
import { concatenate } from './pcm.ts';

type FlacModule = typeof Flac;

const BITS_PER_SAMPLE = 16;
const COMPRESSION_LEVEL = 5;
/** 85 ms instead of libFLAC's 171 ms: it holds back a whole block, and the first byte waits for it. */
const BLOCK_SAMPLES = 2048;

let flacModule: Promise<FlacModule> | undefined;

/** Loads once per process (about 25 ms). The asm.js build: the wasm one breaks on Node's own fetch. */
async function loadFlac(): Promise<FlacModule> {
  flacModule ??= import('libflacjs/dist/libflac.min.js').then(async (loaded) => {
    const flac = ('default' in loaded ? loaded.default : loaded) as FlacModule;
    if (!flac.isReady()) {
      await new Promise<void>((resolve) => {
        flac.on('ready', () => {
          resolve();
        });
      });
    }
    return flac;
  });
  return flacModule;
}

/**
 * FLAC with an open end: STREAMINFO says 0 samples and no MD5, as for any stream. The header comes
 * whole with the first bytes; `withFlacLength` completes it where the file is.
 */
export async function createFlacEncoder(): Promise<AudioEncoder> {
  return createBlockEncoder(CONTENT_TYPES.flac, new FlacCodec(await loadFlac()));
}

/** As far as the length in STREAMINFO, behind the marker and the block's own header. */
const LENGTH_END_BYTES = 26;

/**
 * The beginning of a whole FLAC file with its length in it, to be written over what the encoder
 * gave first. `start` is at least 26 bytes of that. Without it players show no length [ffprobe:
 * N/A] and some cannot seek.
 */
export function withFlacLength(start: Uint8Array, samples: number): Uint8Array {
  const bytes = start.slice(0, LENGTH_END_BYTES);
  const view = new DataView(bytes.buffer);
  // 36 bits: the upper four share a byte with the sample size.
  view.setUint8(21, (view.getUint8(21) & 0xf0) | Math.floor(samples / 2 ** 32));
  view.setUint32(22, samples % 2 ** 32);
  return bytes;
}

class FlacCodec implements BlockCodec {
  readonly blockSamples = BLOCK_SAMPLES;
  readonly #flac: FlacModule;
  readonly #encoder: number;
  readonly #wide = new Int32Array(BLOCK_SAMPLES);
  #written: Uint8Array[] = [];

  constructor(flac: FlacModule) {
    this.#flac = flac;
    this.#encoder = flac.create_libflac_encoder(
      SAMPLE_RATE_HZ,
      1,
      BITS_PER_SAMPLE,
      COMPRESSION_LEVEL,
      0,
      false,
      BLOCK_SAMPLES,
    );
    // libFLAC writes its header now; it goes out with the first block.
    const status = flac.init_encoder_stream(this.#encoder, (bytes) => {
      this.#written.push(bytes.slice());
    });
    if (status !== 0) {
      this.free();
      throw new VoiceError('engine_failed', { cause: `libFLAC did not start: status ${status}` });
    }
  }

  encodeBlock(samples: Int16Array): Uint8Array {
    this.#wide.set(samples);
    const input = this.#wide.subarray(0, samples.length);
    if (!this.#flac.FLAC__stream_encoder_process_interleaved(this.#encoder, input, input.length)) {
      throw new VoiceError('engine_failed', { cause: 'libFLAC refused a block' });
    }
    return this.#take();
  }

  finish(rest: Int16Array): Uint8Array {
    const last = rest.length > 0 ? this.encodeBlock(rest) : new Uint8Array(0);
    this.#flac.FLAC__stream_encoder_finish(this.#encoder);
    return concatenate([last, this.#take()]);
  }

  free(): void {
    if (this.#encoder) this.#flac.FLAC__stream_encoder_delete(this.#encoder);
  }

  #take(): Uint8Array {
    const written = concatenate(this.#written);
    this.#written = [];
    return written;
  }
}
