import type { AudioEncoder } from './audio-encoder.ts';
import { CONTENT_TYPES, SAMPLE_RATE_HZ } from './audio-format.ts';
import { createPcmEncoder } from './pcm-encoder.ts';
import { concatenate } from './pcm.ts';
import { wavHeader } from './wav.ts';

/**
 * A WAV header and the samples. Nobody knows yet how many will come: the header says 0xFFFFFFFF. It
 * goes out with the first piece.
 */
export function createWavEncoder(): AudioEncoder {
  const samples = createPcmEncoder();
  let header: Uint8Array | undefined = wavHeader({ sampleRateHz: SAMPLE_RATE_HZ });
  const withHeader = (body: Uint8Array): Uint8Array => {
    if (!header) return body;
    const whole = concatenate([header, body]);
    header = undefined;
    return whole;
  };
  return {
    contentType: CONTENT_TYPES.wav,
    encode: async (pcm) => withHeader(await samples.encode(pcm)),
    end: async () => withHeader(await samples.end()),
    close: () => {},
  };
}
