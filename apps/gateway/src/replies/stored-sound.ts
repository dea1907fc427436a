import type { AudioFormat } from '@antiphon/shared/audio/audio-format';
import { createAudioEncoder } from '@antiphon/shared/audio/create-audio-encoder';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { StreamLog } from '@antiphon/shared/streams/stream-log';
import type { ByteRange } from './byte-range.ts';
import { PhraseOrder } from './phrase-order.ts';

/** Of 48 KB each, so much lies in memory. */
const ENTRIES_PER_READ = 8;

export interface StoredSound {
  log: StreamLog;
  streamId: string;
  /** Entries up to this one. */
  toSeq: number;
  format: AudioFormat;
  /** Nothing comes behind it: the encoder writes its end. */
  ended: boolean;
}

/** The sound in a stream's log, in order, in the pieces that the first answer was made from. */
async function* readStoredPcm({ log, streamId, toSeq }: StoredSound): AsyncGenerator<Uint8Array> {
  const order = new PhraseOrder();
  for (let nextSeq = 1; nextSeq <= toSeq;) {
    const { entries, lastSeq } = await log.read(streamId, nextSeq, ENTRIES_PER_READ);
    if (lastSeq === 0) throw new VoiceError('stream_not_found');
    for (const entry of entries.filter(({ seq }) => seq <= toSeq)) {
      order.add(entry);
      for (const chunk of order.take()) {
        yield chunk.pcm ?? (await readChunk(log, streamId, chunk.seq));
      }
    }
    nextSeq = lastSeq + 1;
  }
}

/** One that waited for its turn too long to be kept. */
async function readChunk(log: StreamLog, streamId: string, seq: number): Promise<Uint8Array> {
  const { entries } = await log.read(streamId, seq, 1);
  const event = entries[0]?.event;
  if (event?.type !== 'audio-delta') throw new VoiceError('stream_not_found');
  return event.pcm;
}

/** The stored sound by the same encoder as the first answer's, so the same bytes. */
async function* encodeStored(sound: StoredSound): AsyncGenerator<Uint8Array> {
  const encoder = await createAudioEncoder(sound.format);
  try {
    for await (const pcm of readStoredPcm(sound)) yield await encoder.encode(pcm);
    if (sound.ended) yield await encoder.end();
  } finally {
    encoder.close();
  }
}

/** So many lengths are remembered: 100 KB. */
const MOST_LENGTHS = 1000;

/** How many bytes sounds have; those of finished streams are remembered. */
export class StoredLengths {
  readonly #known = new Map<string, number>();

  /**
   * It is encoded for that: kept, 20 minutes of WAV were 58 MB for each listener. Players ask for a
   * sound in many small ranges: only the first one pays. Throws what `signal` aborts with.
   */
  async count(sound: StoredSound, signal: AbortSignal): Promise<number> {
    const { streamId, format, ended } = sound;
    const name = `${streamId}-${format}`;
    const known = this.#known.get(name);
    if (known !== undefined) return known;
    let totalBytes = 0;
    for await (const bytes of encodeStored(sound)) {
      signal.throwIfAborted();
      totalBytes += bytes.byteLength;
    }
    if (ended) this.#remember(name, totalBytes);
    return totalBytes;
  }

  #remember(name: string, totalBytes: number): void {
    this.#known.set(name, totalBytes);
    const [oldest] = this.#known.keys();
    if (this.#known.size > MOST_LENGTHS && oldest !== undefined) this.#known.delete(oldest);
  }
}

/** Some bytes of it. */
export async function* sliceStored(
  sound: StoredSound,
  { start, end }: ByteRange,
): AsyncGenerator<Uint8Array> {
  let offset = 0;
  for await (const bytes of encodeStored(sound)) {
    const part = bytes.subarray(Math.max(0, start - offset), Math.max(0, end + 1 - offset));
    if (part.byteLength > 0) yield part;
    offset += bytes.byteLength;
    if (offset > end) return;
  }
}
