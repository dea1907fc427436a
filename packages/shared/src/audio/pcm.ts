import { BYTES_PER_SAMPLE } from './audio-format.ts';
import { FilterBank } from './filter-bank.ts';

/** Joins byte arrays. A single one is returned as it is, without a copy. */
export function concatenate(parts: readonly Uint8Array[]): Uint8Array {
  if (parts.length === 1 && parts[0]) return parts[0];
  let length = 0;
  for (const part of parts) length += part.length;
  const joined = new Uint8Array(length);
  let offset = 0;
  for (const part of parts) {
    joined.set(part, offset);
    offset += part.length;
  }
  return joined;
}

/** The bytes of samples, as s16le; shares their memory. */
export function samplesToBytes(samples: Int16Array): Uint8Array {
  return new Uint8Array(samples.buffer, samples.byteOffset, samples.byteLength);
}

/** A value on the scale of s16, rounded and clipped; NaN (hostile float files) is silence. */
export function clipToInt16(value: number): number {
  if (value >= 32_767) return 32_767;
  if (value <= -32_768) return -32_768;
  return Math.floor(value + 0.5) | 0;
}

/** Turns bytes cut anywhere into whole samples; the odd byte waits for the next call. */
export class SampleAligner {
  #oddByte: number | undefined;

  /** Takes s16le bytes, returns the whole samples so far. May share memory with `bytes`. */
  align(bytes: Uint8Array): Int16Array {
    const carried = this.#oddByte;
    if (carried === undefined && bytes.length % 2 === 0 && bytes.byteOffset % 2 === 0) {
      return new Int16Array(bytes.buffer, bytes.byteOffset, bytes.length / BYTES_PER_SAMPLE);
    }
    if (bytes.length === 0) return new Int16Array(0);
    const carriedBytes = carried === undefined ? 0 : 1;
    const available = carriedBytes + bytes.length;
    const samples = new Int16Array(available >> 1);
    const target = samplesToBytes(samples);
    if (carried !== undefined) target[0] = carried;
    target.set(bytes.subarray(0, target.length - carriedBytes), carriedBytes);
    this.#oddByte = available % 2 === 0 ? undefined : bytes[bytes.length - 1];
    return samples;
  }
}

/**
 * Changes the sample rate of s16le mono audio as it comes, without delay or click: sample `k` of
 * the output is the input at `k / toHz` seconds, and there are `ceil(n * toHz / fromHz)` of them
 * for `n` input samples, however the input was cut.
 */
export interface Resampler {
  /** Takes any number of bytes (an odd one is kept); returns what is ready, maybe empty. */
  push(pcm: Uint8Array): Uint8Array;
  /** Returns the rest; nothing may follow. A byte that never became a sample is dropped. */
  end(): Uint8Array;
}

/**
 * `fromHz`, `toHz`: whole samples per second; between equal ones nothing is changed. The first
 * resampler of a pair of rates costs 1 to 10 ms of CPU.
 */
export function createResampler(fromHz: number, toHz: number): Resampler {
  return fromHz === toHz ? new PassThrough() : new SincResampler(fromHz, toHz);
}

class PassThrough implements Resampler {
  readonly #aligner = new SampleAligner();

  push(pcm: Uint8Array): Uint8Array {
    return samplesToBytes(this.#aligner.align(pcm));
  }

  end(): Uint8Array {
    return new Uint8Array(0);
  }
}

/** Half the length of the filter, in zero crossings of its sinc. */
const ZERO_CROSSINGS = 24;
/** Where the filter's slope is centred, as a share of the lower Nyquist frequency. */
const ROLLOFF = 0.93;
/** Kaiser's beta: aliases end about 90 dB down. */
const KAISER_BETA = 9;
/** More phases than this are rounded to the nearest: no common pair of rates has as many. */
const MAX_PHASES = 2048;
const MAX_CACHED_FILTERS = 16;

interface Filter {
  /** Input samples on each side of an output sample. */
  halfLength: number;
  /** Rows of `2 * halfLength` weights, one per phase between two input samples. */
  bank: FilterBank;
  rowCount: number;
}

const filters = new Map<string, Filter>();

/** The filter for a pair of rates, both without common factor; 1 to 10 ms the first time. */
function filterFor(fromRatio: number, toRatio: number): Filter {
  const key = `${fromRatio}:${toRatio}`;
  let filter = filters.get(key);
  if (!filter) {
    // Rates come from uploads: what anyone can fill must have an end.
    if (filters.size >= MAX_CACHED_FILTERS) filters.clear();
    filter = designFilter(fromRatio, toRatio);
    filters.set(key, filter);
  }
  return filter;
}

function designFilter(fromRatio: number, toRatio: number): Filter {
  const bandwidth = Math.min(1, toRatio / fromRatio);
  const halfLength = Math.ceil(ZERO_CROSSINGS / bandwidth);
  // A filter for fewer samples out is longer and smoother: it needs fewer phases for the same error.
  const phases = Math.min(toRatio, Math.ceil(MAX_PHASES * bandwidth));
  const rows: Float32Array[] = [];
  for (let phase = 0; phase <= phases; phase += 1) {
    rows.push(filterRow(phase / phases, halfLength, bandwidth * ROLLOFF));
  }
  return { halfLength, bank: new FilterBank(rows), rowCount: rows.length };
}

function filterRow(fraction: number, halfLength: number, bandwidth: number): Float32Array {
  const row = new Float32Array(2 * halfLength);
  let sum = 0;
  for (let tap = 0; tap < row.length; tap += 1) {
    const distance = tap - halfLength + 1 - fraction;
    const angle = Math.PI * bandwidth * distance;
    const edge = distance / halfLength;
    const window = Math.abs(edge) >= 1 ? 0 : besselI0(KAISER_BETA * Math.sqrt(1 - edge * edge));
    const weight = (angle === 0 ? 1 : Math.sin(angle) / angle) * window;
    row[tap] = weight;
    sum += weight;
  }
  // Each phase passes a constant unchanged: no tone at the rate of the phases.
  for (let tap = 0; tap < row.length; tap += 1) row[tap] = (row[tap] ?? 0) / sum;
  return row;
}

/** The modified Bessel function of order 0, by its series. */
function besselI0(x: number): number {
  const quarter = (x * x) / 4;
  let term = 1;
  let sum = 1;
  for (let k = 1; term > sum * 1e-12; k += 1) {
    term *= quarter / (k * k);
    sum += term;
  }
  return sum;
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}

/** Polyphase windowed sinc. Positions are whole numbers, so nothing drifts over hours. */
class SincResampler implements Resampler {
  readonly #aligner = new SampleAligner();
  readonly #fromRatio: number;
  readonly #toRatio: number;
  readonly #filter: Filter;
  /** Input that is still needed; `#buffer[0]` lies `halfLength - 1` before `#base` at the least. */
  #buffer: Float32Array;
  #buffered: number;
  /** Index in `#buffer` of the input sample at or before the next output sample. */
  #base: number;
  /** What lies between that sample and the next output sample, in 1 / `#toRatio`. */
  #phase = 0;

  constructor(fromHz: number, toHz: number) {
    const divisor = greatestCommonDivisor(fromHz, toHz);
    this.#fromRatio = fromHz / divisor;
    this.#toRatio = toHz / divisor;
    this.#filter = filterFor(this.#fromRatio, this.#toRatio);
    // Silence before the first sample.
    this.#base = this.#filter.halfLength - 1;
    this.#buffered = this.#base;
    this.#buffer = new Float32Array(4096 + 2 * this.#filter.halfLength);
  }

  push(pcm: Uint8Array): Uint8Array {
    const samples = this.#aligner.align(pcm);
    this.#append(samples);
    return this.#produce(this.#buffered - this.#filter.halfLength);
  }

  end(): Uint8Array {
    const inputEnd = this.#buffered;
    this.#append(new Int16Array(this.#filter.halfLength));
    return this.#produce(inputEnd);
  }

  #append(samples: Int16Array): void {
    const needed = this.#buffered + samples.length;
    if (needed > this.#buffer.length) {
      const grown = new Float32Array(needed);
      grown.set(this.#buffer.subarray(0, this.#buffered));
      this.#buffer = grown;
    }
    this.#buffer.set(samples, this.#buffered);
    this.#buffered = needed;
  }

  /** Makes the output samples whose input sample lies before `baseLimit`. */
  #produce(baseLimit: number): Uint8Array {
    const { halfLength, bank, rowCount } = this.#filter;
    const count = this.#countBefore(baseLimit);
    const output = new Int16Array(count);
    const wholeStep = Math.floor(this.#fromRatio / this.#toRatio);
    const phaseStep = this.#fromRatio % this.#toRatio;
    const rowsPerPhase = (rowCount - 1) / this.#toRatio;
    let windowStart = 0;
    let windowEnd = 0;
    for (let index = 0; index < count; index += 1) {
      const start = this.#base - halfLength + 1;
      if (start >= windowEnd) {
        windowStart = start;
        windowEnd = start + bank.load(this.#buffer.subarray(start, this.#buffered));
      }
      const row = Math.round(this.#phase * rowsPerPhase);
      output[index] = clipToInt16(bank.weigh(row, start - windowStart));
      this.#base += wholeStep;
      this.#phase += phaseStep;
      if (this.#phase >= this.#toRatio) {
        this.#phase -= this.#toRatio;
        this.#base += 1;
      }
    }
    this.#forget(Math.min(this.#base - halfLength + 1, this.#buffered));
    return samplesToBytes(output);
  }

  /** How many output samples lie before input sample `baseLimit`. */
  #countBefore(baseLimit: number): number {
    const distance = (baseLimit - this.#base) * this.#toRatio - this.#phase;
    return distance <= 0 ? 0 : Math.ceil(distance / this.#fromRatio);
  }

  #forget(samples: number): void {
    if (samples <= 0) return;
    this.#buffer.copyWithin(0, samples, this.#buffered);
    this.#buffered -= samples;
    this.#base -= samples;
  }
}
