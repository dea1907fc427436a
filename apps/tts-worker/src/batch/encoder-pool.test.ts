import {
  AUDIO_FORMATS,
  type AudioFormat,
  CONTENT_TYPES,
  SAMPLE_RATE_HZ,
} from '@antiphon/shared/audio/audio-format';
import { createAudioEncoder } from '@antiphon/shared/audio/create-audio-encoder';
import { decodeToPcm, probeSeconds } from '@antiphon/testing/decode-audio';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { encodeSound } from './encode-sound.ts';
import { EncoderPool } from './encoder-pool.ts';

let encoders: EncoderPool;
beforeEach(() => {
  encoders = new EncoderPool(2);
});
afterEach(() => encoders.close());

/** A second and a half, in pieces of an odd length. */
const TONE = Buffer.from(
  Int16Array.from({ length: SAMPLE_RATE_HZ * 1.5 }, (_, index) =>
    Math.round(8000 * Math.sin((index * 2 * Math.PI * 440) / SAMPLE_RATE_HZ)),
  ).buffer,
);
async function* tone(): AsyncGenerator<Uint8Array> {
  for (let start = 0; start < TONE.length; start += 10_002)
    yield TONE.subarray(start, start + 10_002);
}

async function encode(format: AudioFormat): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(encodeSound(tone(), format, encoders)));
}

/** Decoders give back whole frames, and some what the encoder put before the sound. */
const MAX_EXTRA_SAMPLES = 3000;

describe('a whole sound', () => {
  it.each(AUDIO_FORMATS.filter((format) => format !== 'pcm'))(
    'as %s is as long as its samples',
    async (format) => {
      const samples = await decodeToPcm(await encode(format), { sampleRateHz: SAMPLE_RATE_HZ });
      expect(samples.length).toBeGreaterThanOrEqual(TONE.length / 2);
      expect(samples.length).toBeLessThan(TONE.length / 2 + MAX_EXTRA_SAMPLES);
    },
  );

  it('as wav has a header that tells its length, as pcm none', async () => {
    const wav = await encode('wav');
    expect(wav.readUInt32LE(4)).toBe(wav.length - 8);
    expect(wav.readUInt32LE(40)).toBe(TONE.length);
    expect(wav.subarray(44).equals(TONE)).toBe(true);
    expect((await encode('pcm')).equals(TONE)).toBe(true);
  });

  it('as flac tells its length', async () => {
    expect(await probeSeconds(await encode('flac'))).toBeCloseTo(1.5, 3);
  });

  it('is the same bytes as on the event loop, however many are encoded at once', async () => {
    const encoder = await createAudioEncoder('mp3');
    const expected = Buffer.concat([await encoder.encode(TONE), await encoder.end()]);
    encoder.close();
    const all = await Promise.all(Array.from({ length: 5 }, () => encode('mp3')));
    for (const bytes of all) expect(bytes.equals(expected)).toBe(true);
  });
});

describe('the threads', () => {
  it('give what the encoder would give, and take no second end', async () => {
    const encoder = await encoders.open('flac');
    expect(encoder.contentType).toBe(CONTENT_TYPES.flac);
    encoder.close();
    encoder.close();
    expect(await encoder.encode(TONE)).toHaveLength(0);
  });

  it('are gone after close, and whoever still waits hears of it', async () => {
    const encoder = await encoders.open('mp3');
    const waiting = encoder.encode(TONE).catch((error: unknown) => error);
    await encoders.close();
    expect(await waiting).toMatchObject({ code: 'engine_failed' });
    await expect(encoder.end()).rejects.toMatchObject({ code: 'engine_failed' });
    await expect(encoders.open('mp3')).rejects.toMatchObject({ code: 'server_shutting_down' });
  });

  it('close an encoder whose source fails', async () => {
    const broken = async function* (): AsyncGenerator<Uint8Array> {
      yield TONE;
      throw new Error('engine');
    };
    await expect(Array.fromAsync(encodeSound(broken(), 'mp3', encoders))).rejects.toThrow('engine');
    expect((await encode('mp3')).length).toBeGreaterThan(1000);
  });
});
