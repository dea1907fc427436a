import { expect, it } from 'vitest';
import { wavHeader } from '@antiphon/shared/audio/wav';
import { decodeToPcm } from './decode-audio.ts';

it('counts the samples that are there, not what the header says', async () => {
  const header = wavHeader({ sampleRateHz: 16_000, dataBytes: 999_999 });
  const samples = Uint8Array.from({ length: 640 }, (_, index) => index % 100);
  const decoded = await decodeToPcm(Buffer.concat([header, samples]), { sampleRateHz: 16_000 });
  expect(new Uint8Array(decoded.buffer)).toEqual(samples);
});

it('rejects what is no audio, with the words of ffmpeg', async () => {
  await expect(
    decodeToPcm(Buffer.from('no audio at all'), { sampleRateHz: 16_000 }),
  ).rejects.toThrow(/ffmpeg \(exit 1\): .*Invalid data/);
});
