import { VoiceError } from '../errors/voice-error.ts';
import type { StreamEvent, StreamEventType } from './stream-event.ts';

/** Raised when the meaning of an existing type changes; a new type alone does not need it. */
const VERSION = 1;

const CODE_OF_TYPE = {
  'job-claim': 1,
  'text-delta': 2,
  'text-end': 3,
  'audio-delta': 4,
  'audio-end': 5,
  'phrase-error': 6,
  'transcript-delta': 7,
  'transcript-end': 8,
  'stream-error': 9,
  'message-delta': 10,
  'phrase-start': 11,
  'playback-end': 12,
} as const satisfies Record<StreamEventType, number>;

const TYPE_OF_CODE = new Map(
  Object.entries(CODE_OF_TYPE).map(([type, code]) => [code as number, type as StreamEventType]),
);

const AUDIO_HEADER_BYTES = 10;
/**
 * Above the chunk's number, in the same four bytes: a gateway of an earlier version, to which the
 * number is nothing but a number, still plays the sound.
 */
const CACHE_BITS = { hit: 0x8000_0000, miss: 0x4000_0000 };
const CHUNK_INDEX_BITS = 0x3fff_ffff;

/** `[version, type]`, in front of every event; the claim script puts its JSON behind it. */
export function eventHeader(type: StreamEventType): Buffer {
  return Buffer.from([VERSION, CODE_OF_TYPE[type]]);
}

/** Binary: audio and text as they are behind a short header, everything else as JSON. */
export function encodeEvent(event: StreamEvent): Buffer {
  switch (event.type) {
    case 'text-delta':
      return Buffer.concat([eventHeader(event.type), event.bytes]);
    case 'audio-delta': {
      const encoded = Buffer.allocUnsafe(AUDIO_HEADER_BYTES + event.pcm.byteLength);
      encoded[0] = VERSION;
      encoded[1] = CODE_OF_TYPE[event.type];
      encoded.writeUInt32LE(event.phraseIndex, 2);
      const cacheBits = event.cache === undefined ? 0 : CACHE_BITS[event.cache];
      encoded.writeUInt32LE(event.chunkIndex + cacheBits, 6);
      encoded.set(event.pcm, AUDIO_HEADER_BYTES);
      return encoded;
    }
    default: {
      const { type, ...fields } = event;
      return Buffer.concat([eventHeader(type), Buffer.from(JSON.stringify(fields))]);
    }
  }
}

/** Payloads are views into `encoded`. `undefined` for a type of a newer version: the reader passes over it. */
export function decodeEvent(encoded: Buffer): StreamEvent | undefined {
  if (encoded[0] !== VERSION) {
    throw new VoiceError('internal_error', {
      cause: `event of version ${encoded[0]}; this process reads version ${VERSION}`,
    });
  }
  const type = TYPE_OF_CODE.get(encoded[1] ?? 0);
  if (type === undefined) return undefined;
  if (type === 'text-delta') return { type, bytes: encoded.subarray(2) };
  if (type === 'audio-delta') return decodeAudio(encoded);
  return { type, ...JSON.parse(encoded.toString('utf8', 2)) } as StreamEvent;
}

function decodeAudio(encoded: Buffer): StreamEvent {
  const place = encoded.readUInt32LE(6);
  const cache = place >= CACHE_BITS.hit ? 'hit' : place >= CACHE_BITS.miss ? 'miss' : undefined;
  return {
    type: 'audio-delta',
    phraseIndex: encoded.readUInt32LE(2),
    chunkIndex: place & CHUNK_INDEX_BITS,
    pcm: encoded.subarray(AUDIO_HEADER_BYTES),
    ...(cache === undefined ? {} : { cache }),
  };
}
