import type { AudioEncoder } from '@antiphon/shared/audio/audio-encoder';
import type { AudioFormat } from '@antiphon/shared/audio/audio-format';
import { createAudioEncoder } from '@antiphon/shared/audio/create-audio-encoder';

/**
 * An encoder that `use` starts by calling what it is given, as soon as nothing refuses the request any
 * more: aac is a process of its own. So its start-up passes while the model thinks or the first phrase
 * is made. It is closed when `use` is done; called again, it is the same one.
 */
export async function withEncoder<T>(
  format: AudioFormat,
  use: (start: () => Promise<AudioEncoder>) => Promise<T>,
): Promise<T> {
  let started: Promise<AudioEncoder> | undefined;
  try {
    return await use(() => {
      started ??= createAudioEncoder(format);
      started.catch(() => undefined); // awaited by whoever uses it
      return started;
    });
  } finally {
    await started?.then(
      (encoder) => encoder.close(),
      () => undefined,
    );
  }
}
