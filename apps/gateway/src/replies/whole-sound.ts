import { type AudioFormat, SAMPLE_RATE_HZ } from '@antiphon/shared/audio/audio-format';
import { wavHeader } from '@antiphon/shared/audio/wav';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import { Base64Fragments } from './base64-fragments.ts';

/** Base64 is made of so much at a time: all of it at once would lie in memory three times. */
const SLICE_BYTES = 393_216;

/** The sound of an answer that is sent in one piece, up to a bound. */
export class WholeSound {
  readonly #parts: Uint8Array[] = [];
  readonly #maxBytes: number;
  #sizeBytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Throws `stream_too_large`. */
  add(bytes: Uint8Array): void {
    this.#sizeBytes += bytes.byteLength;
    if (this.#sizeBytes > this.#maxBytes) throw new VoiceError('stream_too_large');
    this.#parts.push(bytes);
  }

  /** Of it in base64. */
  get base64Bytes(): number {
    return Math.ceil(this.#sizeBytes / 3) * 4;
  }

  /** The file in base64, piece by piece; a WAV's header tells its length, which only the end knows. */
  *base64(format: AudioFormat): Generator<Buffer> {
    const fragments = new Base64Fragments();
    for (const part of format === 'wav' ? this.#withLength() : this.#parts) {
      for (let start = 0; start < part.byteLength; start += SLICE_BYTES) {
        const fragment = fragments.push(part.subarray(start, start + SLICE_BYTES));
        if (fragment !== undefined) yield Buffer.from(fragment, 'latin1');
      }
    }
    const rest = fragments.end();
    if (rest !== undefined) yield Buffer.from(rest, 'latin1');
  }

  #withLength(): Uint8Array[] {
    const [first, ...others] = this.#parts;
    if (!first) return [];
    const { length } = wavHeader({ sampleRateHz: SAMPLE_RATE_HZ });
    const dataBytes = this.#sizeBytes - length;
    const header = wavHeader({ sampleRateHz: SAMPLE_RATE_HZ, dataBytes });
    return [header, first.subarray(length), ...others];
  }
}
