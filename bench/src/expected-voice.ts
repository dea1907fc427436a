import type { AudioFormat } from '@antiphon/shared/audio/audio-format';
import { createAudioEncoder } from '@antiphon/shared/audio/create-audio-encoder';
import { SilenceTrimmer } from '@antiphon/shared/audio/silence-trimmer';
import { markerOf, phraseSound, voicePhrases } from './voice-script.ts';

/** How many bytes of sound a whole answer has: the same for each, since only the marker differs. */
export async function expectedSoundBytes(format: AudioFormat): Promise<number> {
  const encoder = await createAudioEncoder(format);
  let bytes = 0;
  for (const { text, pause } of voicePhrases(markerOf(0)).phrases) {
    const trimmer = new SilenceTrimmer(pause);
    bytes += (await encoder.encode(trimmer.push(phraseSound(text)))).length;
    bytes += (await encoder.encode(trimmer.end())).length;
  }
  bytes += (await encoder.end()).length;
  encoder.close();
  return bytes;
}

/** What a whole answer says. */
export function expectedTranscript(marker: string): string {
  return voicePhrases(marker)
    .phrases.map(({ before, text }) => before + text)
    .join('');
}
