import { SAMPLE_RATE_HZ, type AudioFormat } from '@antiphon/shared/audio/audio-format';
import { createAudioEncoder } from '@antiphon/shared/audio/create-audio-encoder';
import { createResampler } from '@antiphon/shared/audio/pcm';
import { readWav } from '@antiphon/shared/audio/wav';
import { CliError } from '../cli-error.ts';

type Bodies = AsyncIterable<AsyncIterable<Uint8Array>>;
type Write = (bytes: Uint8Array) => Promise<void>;

/**
 * The format to ask for. Of one piece the server's own file is kept. Several are asked for as WAV
 * and encoded here once, since compressed files put together have gaps, or more than one header.
 */
export function askedFormat(format: AudioFormat, pieces: number): AudioFormat {
  return format === 'pcm' || pieces === 1 ? format : 'wav';
}

/** Copies bodies as they are. Returns how many bytes there were. */
export async function copyBodies(bodies: Bodies, write: Write): Promise<number> {
  let bytes = 0;
  for await (const body of bodies) {
    for await (const part of body) {
      bytes += part.byteLength;
      await write(part);
    }
  }
  return bytes;
}

/**
 * Reads WAV bodies and writes their samples one after the other, s16le mono at the rate of the
 * first, which `begin` is told. Throws a CliError when a body is no WAV.
 */
export async function joinWavs(
  bodies: Bodies,
  begin: (sampleRateHz: number) => Promise<Write>,
): Promise<void> {
  let write: Write | undefined;
  let rateHz = 0;
  for await (const body of bodies) {
    const wav = await readWav(body);
    if (wav.kind !== 'samples') {
      throw new CliError('the server sent something else than a WAV', 'ask for another --format');
    }
    if (!write) {
      rateHz = wav.sampleRateHz;
      write = await begin(rateHz);
    }
    const resampler = createResampler(wav.sampleRateHz, rateHz);
    for await (const pcm of wav.pcm) await write(resampler.push(pcm));
    await write(resampler.end());
  }
}

/** Encodes the samples of WAV bodies as one file. */
export async function encodeWavs(bodies: Bodies, format: AudioFormat, write: Write): Promise<void> {
  const encoder = await createAudioEncoder(format);
  try {
    let resampler = createResampler(SAMPLE_RATE_HZ, SAMPLE_RATE_HZ);
    await joinWavs(bodies, async (sampleRateHz) => {
      resampler = createResampler(sampleRateHz, SAMPLE_RATE_HZ);
      return async (pcm) => write(await encoder.encode(resampler.push(pcm)));
    });
    await write(await encoder.encode(resampler.end()));
    await write(await encoder.end());
  } finally {
    encoder.close();
  }
}
