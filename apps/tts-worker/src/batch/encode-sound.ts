import {
  type AudioFormat,
  BYTES_PER_SAMPLE,
  SAMPLE_RATE_HZ,
} from '@antiphon/shared/audio/audio-format';
import { withFlacLength } from '@antiphon/shared/audio/flac-encoder';
import { concatenate } from '@antiphon/shared/audio/pcm';
import { wavHeader } from '@antiphon/shared/audio/wav';
import type { EncoderPool } from './encoder-pool.ts';

/** A whole sound in a format, piece by piece. Throws what `pcm` throws, and the encoder's errors. */
export async function* encodeSound(
  pcm: AsyncIterable<Uint8Array>,
  format: AudioFormat,
  encoders: EncoderPool,
): AsyncGenerator<Uint8Array> {
  if (format === 'pcm') yield* pcm;
  else if (format === 'wav') yield* wholeWav(pcm);
  else if (format === 'flac') yield* wholeFlac(pcm, encoders);
  else yield* encoded(pcm, format, encoders);
}

/** Its header tells the truth, and so waits for the last sample. */
async function* wholeWav(pcm: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const parts: Uint8Array[] = [];
  let dataBytes = 0;
  for await (const part of pcm) {
    parts.push(part);
    dataBytes += part.byteLength;
  }
  // In one piece: each write to disk is a turn of the thread pool.
  yield concatenate([wavHeader({ sampleRateHz: SAMPLE_RATE_HZ, dataBytes }), ...parts]);
}

/** The same [ffprobe shows no length, and players cannot seek, in what is sent as it is made]. */
async function* wholeFlac(
  pcm: AsyncIterable<Uint8Array>,
  encoders: EncoderPool,
): AsyncGenerator<Uint8Array> {
  let pcmBytes = 0;
  const counting = async function* (): AsyncGenerator<Uint8Array> {
    for await (const part of pcm) {
      pcmBytes += part.byteLength;
      yield part;
    }
  };
  const parts: Uint8Array[] = [];
  for await (const part of encoded(counting(), 'flac', encoders)) {
    if (part.byteLength > 0) parts.push(part);
  }
  parts[0]?.set(withFlacLength(parts[0], Math.floor(pcmBytes / BYTES_PER_SAMPLE)));
  yield* parts;
}

async function* encoded(
  pcm: AsyncIterable<Uint8Array>,
  format: AudioFormat,
  encoders: EncoderPool,
): AsyncGenerator<Uint8Array> {
  const encoder = await encoders.open(format);
  try {
    for await (const part of pcm) yield await encoder.encode(part);
    yield await encoder.end();
  } finally {
    encoder.close();
  }
}
