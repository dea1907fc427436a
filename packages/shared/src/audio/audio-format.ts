/** What clients may ask for (contract, section 2; `pcm16` is chat's name for `pcm`). */
export const AUDIO_FORMATS = ['mp3', 'opus', 'aac', 'flac', 'wav', 'pcm'] as const;
export type AudioFormat = (typeof AUDIO_FORMATS)[number];

/** All audio between the tts-worker and the client: mono s16le at this rate, as OpenAI's pcm. */
export const SAMPLE_RATE_HZ = 24_000;
export const BYTES_PER_SAMPLE = 2;

export const CONTENT_TYPES: Record<AudioFormat, string> = {
  mp3: 'audio/mpeg',
  opus: 'audio/ogg',
  aac: 'audio/aac',
  flac: 'audio/flac',
  wav: 'audio/wav',
  pcm: 'audio/pcm',
};
