import type { AudioEncoder } from './audio-encoder.ts';
import { CONTENT_TYPES } from './audio-format.ts';
import { SampleAligner, samplesToBytes } from './pcm.ts';

/** The samples as they are, without a header. Pieces are whole samples. */
export function createPcmEncoder(): AudioEncoder {
  const aligner = new SampleAligner();
  return {
    contentType: CONTENT_TYPES.pcm,
    // A copy: what was returned may be sent after the caller has used its memory again.
    encode: async (pcm) => samplesToBytes(aligner.align(pcm)).slice(),
    end: async () => new Uint8Array(0),
    close: () => {},
  };
}
