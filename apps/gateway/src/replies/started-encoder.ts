import type { AudioEncoder } from '@antiphon/shared/audio/audio-encoder';
import type { AudioFormat } from '@antiphon/shared/audio/audio-format';
import { createAudioEncoder } from '@antiphon/shared/audio/create-audio-encoder';

/**
 * Starts an encoder at once, so that its start-up passes while the model thinks or the first phrase
 * is made, and closes it when `use` is done.
 */
export async function withStartedEncoder<T>(
  format: AudioFormat,
  use: (started: Promise<AudioEncoder>) => Promise<T>,
): Promise<T> {
  const started = createAudioEncoder(format);
  started.catch(() => undefined); // awaited by whoever uses it
  try {
    return await use(started);
  } finally {
    await started.then(
      (encoder) => encoder.close(),
      () => undefined,
    );
  }
}
