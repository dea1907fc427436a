import type { UploadFormat } from '../services/stt-service.ts';

/** How many bytes of the start are worth giving to `detectUploadFormat`. */
export const UPLOAD_MAGIC_BYTES = 4096;

/** What the brands and atoms of MP4 and QuickTime files start with, at byte 4. */
const MP4_ATOMS = new Set(['ftyp', 'moov', 'mdat', 'wide', 'skip', 'free']);

/**
 * Tells the container by its first bytes (12 at least, `UPLOAD_MAGIC_BYTES` at best).
 * `undefined`: none that is accepted. Names and MIME types of uploads say nothing reliable.
 */
export function detectUploadFormat(firstBytes: Uint8Array): UploadFormat | undefined {
  const start = asciiAt(firstBytes, 0, 4);
  switch (start) {
    case 'fLaC':
      return 'flac';
    case 'OggS':
      return 'ogg';
    case '\x1aE\xdf\xa3':
      return 'webm';
    case 'RIFF':
    case 'RF64':
      return asciiAt(firstBytes, 8, 4) === 'WAVE' ? 'wav' : undefined;
  }
  if (MP4_ATOMS.has(asciiAt(firstBytes, 4, 4))) return 'mp4';
  if (start.startsWith('ID3')) return formatAfterId3(firstBytes);
  return frameFormat(firstBytes);
}

function asciiAt(bytes: Uint8Array, offset: number, length: number): string {
  return String.fromCharCode(...bytes.subarray(offset, offset + length));
}

/** An ID3 tag may stand before FLAC and AAC too; one longer than what is here is an MP3's (cover art). */
function formatAfterId3(bytes: Uint8Array): UploadFormat {
  const [a = 0, b = 0, c = 0, d = 0] = bytes.subarray(6, 10);
  const tagBytes = 10 + ((a & 0x7f) << 21) + ((b & 0x7f) << 14) + ((c & 0x7f) << 7) + (d & 0x7f);
  const after = bytes.subarray(tagBytes);
  if (asciiAt(after, 0, 4) === 'fLaC') return 'flac';
  return frameFormat(after) ?? 'mp3';
}

/** Formats without a container: frames, one after the other. The second one, if here, must be one too. */
function frameFormat(bytes: Uint8Array): UploadFormat | undefined {
  const format = frameAt(bytes, 0);
  if (!format) return undefined;
  const { lengthBytes } = format;
  if (lengthBytes === undefined || bytes.length < lengthBytes + 4) return format.name;
  return frameAt(bytes, lengthBytes)?.name === format.name ? format.name : undefined;
}

interface Frame {
  name: 'mp3' | 'aac';
  /** `undefined`: a free bit rate, which only the next frame would tell. */
  lengthBytes: number | undefined;
}

function frameAt(bytes: Uint8Array, offset: number): Frame | undefined {
  if (bytes.length < offset + 4 || bytes[offset] !== 0xff) return undefined;
  return adtsFrame(bytes.subarray(offset)) ?? mpegFrame(bytes.subarray(offset));
}

/** ADTS (ISO 13818-7): 12 bits of sync, layer 0, a known sample rate. */
function adtsFrame(bytes: Uint8Array): Frame | undefined {
  const [, second = 0, third = 0, fourth = 0, fifth = 0, sixth = 0] = bytes;
  if ((second & 0xf6) !== 0xf0 || ((third >> 2) & 15) > 12) return undefined;
  const lengthBytes = ((fourth & 3) << 11) | (fifth << 3) | (sixth >> 5);
  if (bytes.length >= 6 && lengthBytes < 7) return undefined;
  return { name: 'aac', lengthBytes: bytes.length >= 6 ? lengthBytes : undefined };
}

const MPEG2_BITRATES = [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160];
/**
 * By MPEG version (2.5 counts as 2) and layer: kilobits per second by bit-rate index, from 1, and
 * the slots of a frame: their number is `slots * bit rate / sample rate`, each has `slotBytes`.
 */
const LAYERS: Record<string, { kilobits: readonly number[]; slots: number; slotBytes: number }> = {
  '1.1': {
    kilobits: [32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448],
    slots: 12,
    slotBytes: 4,
  },
  '1.2': {
    kilobits: [32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384],
    slots: 144,
    slotBytes: 1,
  },
  '1.3': {
    kilobits: [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
    slots: 144,
    slotBytes: 1,
  },
  '2.1': {
    kilobits: [32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256],
    slots: 12,
    slotBytes: 4,
  },
  '2.2': { kilobits: MPEG2_BITRATES, slots: 144, slotBytes: 1 },
  '2.3': { kilobits: MPEG2_BITRATES, slots: 72, slotBytes: 1 },
};
/** By the header's two bits: 2.5, reserved, 2, 1. */
const MPEG_VERSIONS = [
  { table: '2', rateDivisor: 4 },
  undefined,
  { table: '2', rateDivisor: 2 },
  { table: '1', rateDivisor: 1 },
] as const;
const MPEG1_RATES_HZ = [44_100, 48_000, 32_000] as const;

/** MPEG audio (ISO 11172-3, 13818-3): 11 bits of sync, no reserved value. */
function mpegFrame(bytes: Uint8Array): Frame | undefined {
  const [, second = 0, third = 0] = bytes;
  const version = MPEG_VERSIONS[(second >> 3) & 3];
  const layer = LAYERS[`${version?.table}.${4 - ((second >> 1) & 3)}`];
  const rateHz = MPEG1_RATES_HZ[(third >> 2) & 3];
  const bitrateIndex = third >> 4;
  if ((second & 0xe0) !== 0xe0 || bitrateIndex === 15) return undefined;
  if (!version || !layer || !rateHz) return undefined;
  if (bitrateIndex === 0) return { name: 'mp3', lengthBytes: undefined };
  const bitsPerSecond = (layer.kilobits[bitrateIndex - 1] ?? 0) * 1000;
  const slots = Math.floor((layer.slots * bitsPerSecond * version.rateDivisor) / rateHz);
  return { name: 'mp3', lengthBytes: layer.slotBytes * (slots + ((third >> 1) & 1)) };
}
