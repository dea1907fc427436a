import { createRequire } from 'node:module';
import type { Encoder } from '@evan/opus';
import type { AudioEncoder } from './audio-encoder.ts';
import { CONTENT_TYPES, SAMPLE_RATE_HZ } from './audio-format.ts';
import { type BlockCodec, createBlockEncoder } from './block-encoder.ts';
import { OggWriter } from './ogg.ts';
import { concatenate } from './pcm.ts';

/** What lies under the typed surface: `drop` frees at once, the surface waits for the collector. */
type RawOpusEncoder = Pick<Encoder, 'encode' | 'ctl'> & { drop(): void };
interface RawOpusModule {
  Encoder: new (options: {
    channels: number;
    sample_rate: number;
    application: string;
  }) => RawOpusEncoder;
}

const SET_BITRATE = 4002;
const SET_COMPLEXITY = 4010;
const GET_LOOKAHEAD = 4027;

/** Mono speech at 24 kHz; Opus spends less where the sound allows it. */
const BITRATE_BITS_PER_SECOND = 48_000;
/** Of 10. At 9, the default, speech costs 16 ms of CPU per second of audio; at 5, 4 ms and 3 % more bytes. */
const COMPLEXITY = 5;
/** 20 ms, Opus' usual frame. */
const FRAME_SAMPLES = SAMPLE_RATE_HZ / 50;
/** Ogg Opus counts in 48 kHz whatever the input was (RFC 7845, section 4). */
const GRANULES_PER_SAMPLE = 48_000 / SAMPLE_RATE_HZ;
const GRANULES_PER_FRAME = FRAME_SAMPLES * GRANULES_PER_SAMPLE;
/** 100 ms: a page costs 30 bytes, 2.4 kbit/s at this size. The first holds one packet, to be early. */
const PACKETS_PER_PAGE = 5;
/** Fixed, so that an answer encoded again (resumed by byte range) has the same bytes. */
const SERIAL_NUMBER = 0x616e_7469;

let opusModule: RawOpusModule | undefined;

/**
 * The WebAssembly build on purpose, not the native one beside it: it gives the same bytes on
 * every machine, and frees on demand. It takes about twice the CPU.
 */
function loadOpus(): RawOpusModule {
  opusModule ??= createRequire(import.meta.url)('@evan/opus/wasm/index.js') as RawOpusModule;
  return opusModule;
}

/** Ogg Opus. A decoder gives back exactly the samples that went in: pre-skip and end are marked. */
export function createOpusEncoder(): AudioEncoder {
  return createBlockEncoder(CONTENT_TYPES.opus, new OpusCodec());
}

class OpusCodec implements BlockCodec {
  readonly blockSamples = FRAME_SAMPLES;
  readonly #encoder: RawOpusEncoder;
  readonly #ogg = new OggWriter(SERIAL_NUMBER);
  readonly #lookaheadSamples: number;
  #waiting: Uint8Array[] = [];
  #samples = 0;
  #packets = 0;
  #headersSent = false;

  constructor() {
    const { Encoder } = loadOpus();
    this.#encoder = new Encoder({
      channels: 1,
      sample_rate: SAMPLE_RATE_HZ,
      application: 'audio',
    });
    this.#encoder.ctl(SET_BITRATE, BITRATE_BITS_PER_SECOND);
    this.#encoder.ctl(SET_COMPLEXITY, COMPLEXITY);
    this.#lookaheadSamples = this.#encoder.ctl(GET_LOOKAHEAD);
  }

  encodeBlock(samples: Int16Array): Uint8Array {
    const firstPage = this.#packets === 0;
    this.#encodeFrame(samples);
    if (!firstPage && this.#waiting.length < PACKETS_PER_PAGE) return new Uint8Array(0);
    return concatenate([...this.#headers(), this.#flush(this.#packets * GRANULES_PER_FRAME)]);
  }

  finish(rest: Int16Array): Uint8Array {
    // The decoder runs behind by the lookahead: silence pushes the last samples out.
    const tail = new Int16Array(
      Math.ceil((rest.length + this.#lookaheadSamples) / FRAME_SAMPLES) * FRAME_SAMPLES,
    );
    tail.set(rest);
    const samples = this.#samples + rest.length;
    for (let start = 0; start < tail.length; start += FRAME_SAMPLES) {
      this.#encodeFrame(tail.subarray(start, start + FRAME_SAMPLES));
    }
    const end = (this.#lookaheadSamples + samples) * GRANULES_PER_SAMPLE;
    return concatenate([...this.#headers(), this.#flush(end, true)]);
  }

  free(): void {
    this.#encoder.drop();
  }

  #encodeFrame(frame: Int16Array): void {
    this.#waiting.push(this.#encoder.encode(frame));
    this.#samples += frame.length;
    this.#packets += 1;
  }

  #flush(granulePosition: number, last = false): Uint8Array {
    const packets = this.#waiting;
    this.#waiting = [];
    return this.#ogg.page({ packets, granulePosition, last });
  }

  /** The two header pages, once. */
  #headers(): Uint8Array[] {
    if (this.#headersSent) return [];
    this.#headersSent = true;
    const preSkip = this.#lookaheadSamples * GRANULES_PER_SAMPLE;
    return [opusHead(preSkip), opusTags()].map((packet) =>
      this.#ogg.page({ packets: [packet], granulePosition: 0 }),
    );
  }
}

/** RFC 7845, section 5.1. `preSkip`: samples at 48 kHz that the decoder drops at the start. */
function opusHead(preSkip: number): Uint8Array {
  const head = new Uint8Array(19);
  const view = new DataView(head.buffer);
  head.set(new TextEncoder().encode('OpusHead'));
  head[8] = 1; // version
  head[9] = 1; // channels
  view.setUint16(10, preSkip, true);
  view.setUint32(12, SAMPLE_RATE_HZ, true);
  return head;
}

/** RFC 7845, section 5.2: a vendor and no comments. */
function opusTags(): Uint8Array {
  const vendor = new TextEncoder().encode('antiphon');
  const tags = new Uint8Array(8 + 4 + vendor.length + 4);
  tags.set(new TextEncoder().encode('OpusTags'));
  new DataView(tags.buffer).setUint32(8, vendor.length, true);
  tags.set(vendor, 12);
  return tags;
}
