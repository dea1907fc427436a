import { createAacEncoder } from './aac-encoder.ts';
import type { AudioEncoder } from './audio-encoder.ts';
import type { AudioFormat } from './audio-format.ts';
import { createFlacEncoder } from './flac-encoder.ts';
import { createMp3Encoder } from './mp3-encoder.ts';
import { createOpusEncoder } from './opus-encoder.ts';
import { createPcmEncoder } from './pcm-encoder.ts';
import { createWavEncoder } from './wav-encoder.ts';

export interface AudioEncoderOptions {
  /** For aac; `ffmpeg` unless told. */
  ffmpegPath?: string;
}

const ENCODERS: Record<
  AudioFormat,
  (options: AudioEncoderOptions) => AudioEncoder | Promise<AudioEncoder>
> = {
  mp3: createMp3Encoder,
  opus: createOpusEncoder,
  aac: ({ ffmpegPath }) => createAacEncoder(ffmpegPath),
  flac: createFlacEncoder,
  wav: createWavEncoder,
  pcm: createPcmEncoder,
};

/** The encoder for one answer. Whoever creates it closes it. Throws `engine_failed` (aac without ffmpeg). */
export async function createAudioEncoder(
  format: AudioFormat,
  options: AudioEncoderOptions = {},
): Promise<AudioEncoder> {
  return ENCODERS[format](options);
}

/** Compiles every codec that runs in this process, so that no client waits for it (100 ms in all). */
export async function warmAudioEncoders(): Promise<void> {
  for (const format of ['mp3', 'opus', 'flac'] as const) {
    const encoder = await createAudioEncoder(format);
    await encoder.encode(new Uint8Array(8192));
    await encoder.end();
    encoder.close();
  }
}
