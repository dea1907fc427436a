import { BYTES_PER_SAMPLE } from './audio-format.ts';
import { ByteReader } from './byte-reader.ts';
import { clipToInt16, samplesToBytes } from './pcm.ts';
import { WAV_HEADER_BYTES } from './plain-wav.ts';

const UNKNOWN_SIZE = 0xffff_ffff;

/**
 * The 44 bytes before s16le mono samples. Without `dataBytes`, or when there are more than the
 * format can count, both sizes are 0xFFFFFFFF: players then read to the end.
 */
export function wavHeader(options: { sampleRateHz: number; dataBytes?: number }): Uint8Array {
  const { sampleRateHz, dataBytes = UNKNOWN_SIZE } = options;
  const riffBytes = WAV_HEADER_BYTES - 8 + dataBytes;
  const countable = riffBytes < UNKNOWN_SIZE;
  const header = new Uint8Array(WAV_HEADER_BYTES);
  const view = new DataView(header.buffer);
  view.setUint32(0, 0x5249_4646); // "RIFF"
  view.setUint32(4, countable ? riffBytes : UNKNOWN_SIZE, true);
  view.setUint32(8, 0x5741_5645); // "WAVE"
  view.setUint32(12, 0x666d_7420); // "fmt "
  view.setUint32(16, 16, true);
  view.setUint16(20, CODEC_PCM, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, sampleRateHz, true);
  view.setUint32(28, sampleRateHz * BYTES_PER_SAMPLE, true);
  view.setUint16(32, BYTES_PER_SAMPLE, true);
  view.setUint16(34, 8 * BYTES_PER_SAMPLE, true);
  view.setUint32(36, 0x6461_7461); // "data"
  view.setUint32(40, countable ? dataBytes : UNKNOWN_SIZE, true);
  return header;
}

const CODEC_PCM = 1;
const CODEC_FLOAT = 3;
const CODEC_EXTENSIBLE = 0xfffe;
/** Bytes per sample, by codec. */
const READABLE_WIDTHS: Record<number, readonly number[]> = {
  [CODEC_PCM]: [1, 2, 3, 4],
  [CODEC_FLOAT]: [4, 8],
};
/** What a file may say about itself; outside, it is not a recording of anything. */
const MAX_CHANNELS = 32;
const MIN_SAMPLE_RATE_HZ = 1000;
const MAX_SAMPLE_RATE_HZ = 384_000;
/** The longest `fmt ` chunk that means anything is 40 bytes. */
const MAX_FORMAT_BYTES = 1024;

/**
 * `samples`: s16le mono at `sampleRateHz`, read as it is consumed; channels are averaged.
 * `unknown-codec`: a WAV, but one whose samples this parser does not read (ADPCM, µ-law, MP3 …).
 * `invalid`: no WAV, or one whose header makes no sense.
 */
export type WavContent =
  | { kind: 'samples'; sampleRateHz: number; pcm: AsyncIterable<Uint8Array> }
  | { kind: 'unknown-codec' }
  | { kind: 'invalid' };

interface SampleLayout {
  codec: number;
  channels: number;
  sampleRateHz: number;
  bytesPerSample: number;
}

/**
 * Reads a WAV. No number in its header is trusted: sizes of 0, 0xFFFFFFFF or beyond the end mean
 * "to the end", frames are computed from channels and bits, and memory does not follow any of them.
 * The source is returned (`return()`) when the reading ends, but for an unfinished `pcm`, whose
 * own `return()` does it.
 */
export async function readWav(source: AsyncIterable<Uint8Array>): Promise<WavContent> {
  const reader = new ByteReader(source);
  try {
    const content = await readContent(reader);
    if (content.kind !== 'samples') await reader.close();
    return content;
  } catch (error) {
    await reader.close();
    throw error;
  }
}

async function readContent(reader: ByteReader): Promise<WavContent> {
  const riff = text(await reader.read(12));
  if (!/^(?:RIFF|RF64)[^]{4}WAVE$/.test(riff)) return { kind: 'invalid' };
  let layout: SampleLayout | 'unknown-codec' | 'invalid' = 'invalid';
  for (;;) {
    const head = await reader.read(8);
    if (head.length < 8) return { kind: 'invalid' };
    const id = text(head.subarray(0, 4));
    const bytes = new DataView(head.buffer, head.byteOffset).getUint32(4, true);
    if (id === 'data') return samplesContent(reader, bytes, layout);
    let passedBytes = 0;
    if (id === 'fmt ') {
      const format = await reader.read(Math.min(bytes, MAX_FORMAT_BYTES));
      layout = parseFormat(format);
      passedBytes = format.length;
    }
    // Chunks begin at even places.
    await reader.skip(bytes + (bytes % 2) - passedBytes);
  }
}

function samplesContent(
  reader: ByteReader,
  bytes: number,
  layout: SampleLayout | 'unknown-codec' | 'invalid',
): WavContent {
  if (typeof layout === 'string') return { kind: layout };
  const dataBytes = bytes === 0 || bytes === UNKNOWN_SIZE ? Infinity : bytes;
  const { sampleRateHz } = layout;
  return { kind: 'samples', sampleRateHz, pcm: readSamples(reader, dataBytes, layout) };
}

/** The `fmt ` chunk. `invalid` when its numbers are impossible. */
function parseFormat(format: Uint8Array): SampleLayout | 'unknown-codec' | 'invalid' {
  if (format.length < 16) return 'invalid';
  const view = new DataView(format.buffer, format.byteOffset, format.length);
  let codec = view.getUint16(0, true);
  // The real codec stands first in the sub-format's GUID.
  if (codec === CODEC_EXTENSIBLE) codec = format.length >= 26 ? view.getUint16(24, true) : 0;
  const channels = view.getUint16(2, true);
  const sampleRateHz = view.getUint32(4, true);
  const bytesPerSample = Math.ceil(view.getUint16(14, true) / 8);
  const possible =
    channels >= 1 &&
    channels <= MAX_CHANNELS &&
    sampleRateHz >= MIN_SAMPLE_RATE_HZ &&
    sampleRateHz <= MAX_SAMPLE_RATE_HZ;
  if (!possible) return 'invalid';
  const widths = READABLE_WIDTHS[codec];
  if (!widths) return 'unknown-codec';
  return widths.includes(bytesPerSample)
    ? { codec, channels, sampleRateHz, bytesPerSample }
    : 'invalid';
}

type SampleGetter = (view: DataView, offset: number) => number;

/** Reads one sample, on the scale of s16. */
function sampleGetter({ codec, bytesPerSample }: SampleLayout): SampleGetter {
  if (codec === CODEC_FLOAT) {
    return bytesPerSample === 4
      ? (view, offset) => view.getFloat32(offset, true) * 32_768
      : (view, offset) => view.getFloat64(offset, true) * 32_768;
  }
  switch (bytesPerSample) {
    case 1: // the only unsigned one
      return (view, offset) => (view.getUint8(offset) - 128) * 256;
    case 2:
      return (view, offset) => view.getInt16(offset, true);
    case 3:
      return (view, offset) => view.getInt16(offset + 1, true) + view.getUint8(offset) / 256;
    default:
      return (view, offset) => view.getInt32(offset, true) / 65_536;
  }
}

async function* readSamples(
  reader: ByteReader,
  dataBytes: number,
  layout: SampleLayout,
): AsyncGenerator<Uint8Array> {
  const sampleAt = sampleGetter(layout);
  const frameBytes = layout.channels * layout.bytesPerSample;
  // Whole frames of about 64 KB: a few milliseconds of work, whatever the source calls a chunk.
  const pieceBytes = frameBytes * Math.ceil(65_536 / frameBytes);
  let remaining = dataBytes;
  try {
    while (remaining > 0) {
      const piece = await reader.read(Math.min(pieceBytes, remaining));
      remaining -= piece.length;
      const frames = Math.floor(piece.length / frameBytes);
      if (frames === 0) return;
      yield samplesToBytes(downmix(piece.subarray(0, frames * frameBytes), layout, sampleAt));
    }
  } finally {
    await reader.close();
  }
}

function downmix(frames: Uint8Array, layout: SampleLayout, sampleAt: SampleGetter): Int16Array {
  const { channels, bytesPerSample } = layout;
  const view = new DataView(frames.buffer, frames.byteOffset, frames.length);
  const mono = new Int16Array(frames.length / (channels * bytesPerSample));
  let offset = 0;
  for (let index = 0; index < mono.length; index += 1) {
    let sum = 0;
    for (let channel = 0; channel < channels; channel += 1) {
      sum += sampleAt(view, offset);
      offset += bytesPerSample;
    }
    mono[index] = clipToInt16(sum / channels);
  }
  return mono;
}

function text(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes);
}
