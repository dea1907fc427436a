import { describe, expect, it } from 'vitest';
import { decodeToPcm, probeSeconds } from '@antiphon/testing/decode-audio';
import { PATIENCE } from '@antiphon/testing/until';
import { AUDIO_FORMATS, type AudioFormat, CONTENT_TYPES, SAMPLE_RATE_HZ } from './audio-format.ts';
import {
  type AudioEncoderOptions,
  createAudioEncoder,
  warmAudioEncoders,
} from './create-audio-encoder.ts';
import { withFlacLength } from './flac-encoder.ts';
import { concatenate, samplesToBytes } from './pcm.ts';

const LOSSLESS = ['flac', 'wav'] as const;
/** Samples at 24 kHz that a decoder puts before the audio, and the least signal-to-noise in dB. */
const LOSSY = [
  { format: 'mp3', delaySamples: 1105, decibels: 20 },
  { format: 'opus', delaySamples: 0, decibels: 20 },
  { format: 'aac', delaySamples: 1024, decibels: 20 },
] as const;
const CONTAINERS = AUDIO_FORMATS.filter((format) => format !== 'pcm');
/** A length that is no multiple of any frame. */
const SAMPLES = 3 * SAMPLE_RATE_HZ + 777;

/** A vowel of changing pitch: harmonics that fall off as a voice's do. */
function voiced(samples: number): Int16Array {
  let phase = 0;
  return Int16Array.from({ length: samples }, (_, index) => {
    phase += (2 * Math.PI * (140 + 40 * Math.sin(index / 9000))) / SAMPLE_RATE_HZ;
    let value = 0;
    for (let harmonic = 1; harmonic <= 8; harmonic += 1) {
      value += Math.sin(phase * harmonic) / harmonic;
    }
    return 6000 * value * (0.6 + 0.4 * Math.sin(index / 3000));
  });
}

interface EncodeOptions extends AudioEncoderOptions {
  /** Sizes of the pieces, used in turn. */
  cuts?: readonly number[];
}

async function encodeAll(
  format: AudioFormat,
  pcm: Uint8Array,
  { cuts = [9600], ...options }: EncodeOptions = {},
): Promise<Uint8Array> {
  const encoder = await createAudioEncoder(format, options);
  try {
    const parts: Uint8Array[] = [];
    let offset = 0;
    for (let turn = 0; offset < pcm.length; turn += 1) {
      const bytes = cuts[turn % cuts.length] ?? pcm.length;
      // The caller may use its memory again after the call.
      const piece = pcm.slice(offset, offset + bytes);
      parts.push(await encoder.encode(piece));
      piece.fill(0x55);
      offset += bytes;
    }
    parts.push(await encoder.end());
    return concatenate(parts);
  } finally {
    encoder.close();
  }
}

/** Signal to noise in dB, with `decoded` beginning `delaySamples` late. */
function signalToNoise(original: Int16Array, decoded: Int16Array, delaySamples: number): number {
  let signal = 0;
  let noise = 0;
  original.forEach((value, index) => {
    const difference = value - (decoded[index + delaySamples] ?? 0);
    signal += value * value;
    noise += difference * difference;
  });
  return 10 * Math.log10(signal / Math.max(1, noise));
}

describe.each(CONTAINERS)('%s', (format) => {
  it('decodes to as much audio as went in', async () => {
    const body = await encodeAll(format, samplesToBytes(voiced(SAMPLES)));
    const decoded = await decodeToPcm(body, { sampleRateHz: SAMPLE_RATE_HZ });
    expect(decoded.length).toBeGreaterThanOrEqual(SAMPLES);
    expect(decoded.length - SAMPLES).toBeLessThan(0.1 * SAMPLE_RATE_HZ);
  });

  it('gives the same bytes however the input is cut', async () => {
    const pcm = samplesToBytes(voiced(SAMPLES));
    const whole = await encodeAll(format, pcm, { cuts: [pcm.length] });
    const pieces = await encodeAll(format, pcm, { cuts: [1, 4801, 960, 7, 20_000, 3] });
    expect(Buffer.from(whole).equals(pieces)).toBe(true);
  });

  it('makes a body without any audio', async () => {
    const body = await encodeAll(format, new Uint8Array(0));
    const decoded =
      body.length === 0 ? [] : await decodeToPcm(body, { sampleRateHz: SAMPLE_RATE_HZ });
    expect(decoded.length).toBeLessThan(0.1 * SAMPLE_RATE_HZ);
  });
});

describe.each(AUDIO_FORMATS)('%s', (format) => {
  it('names its content type and drops half a sample at the end', async () => {
    const encoder = await createAudioEncoder(format);
    expect(encoder.contentType).toBe(CONTENT_TYPES[format]);
    encoder.close();
    const pcm = samplesToBytes(voiced(5000));
    const odd = await encodeAll(format, concatenate([pcm, Uint8Array.of(99)]));
    expect(Buffer.from(odd).equals(await encodeAll(format, pcm))).toBe(true);
  });

  it('is silent after it was closed in mid-answer', async () => {
    const encoder = await createAudioEncoder(format);
    const pcm = samplesToBytes(voiced(SAMPLE_RATE_HZ));
    const running = encoder.encode(pcm);
    encoder.close();
    await expect(running).resolves.toBeInstanceOf(Uint8Array);
    encoder.close();
  });
});

it.each(LOSSLESS)('%s gives back exactly what went in', async (format) => {
  const original = voiced(SAMPLES);
  const body = await encodeAll(format, samplesToBytes(original));
  const decoded = await decodeToPcm(body, { sampleRateHz: SAMPLE_RATE_HZ });
  expect(Buffer.from(samplesToBytes(decoded)).equals(samplesToBytes(original))).toBe(true);
});

it('pcm is the input', async () => {
  const pcm = samplesToBytes(voiced(SAMPLES));
  const body = await encodeAll('pcm', pcm, { cuts: [1, 333, 2048] });
  expect(Buffer.from(body).equals(pcm)).toBe(true);
});

it.each(LOSSY)('$format sounds as its input', async ({ format, delaySamples, decibels }) => {
  const original = voiced(SAMPLES);
  const body = await encodeAll(format, samplesToBytes(original));
  const decoded = await decodeToPcm(body, { sampleRateHz: SAMPLE_RATE_HZ });
  expect(signalToNoise(original, decoded, delaySamples)).toBeGreaterThan(decibels);
});

it.each([1, 323, 324, 325, 479, 480, 481, 804, 4800, 24_000])(
  'opus gives back exactly %i samples',
  async (samples) => {
    const body = await encodeAll('opus', samplesToBytes(voiced(samples)));
    const decoded = await decodeToPcm(body, { sampleRateHz: 48_000 });
    expect(decoded.length).toBe(2 * samples);
  },
);

it('mp3 bodies can be joined', async () => {
  const lengths = [SAMPLE_RATE_HZ, 12_345, 2 * SAMPLE_RATE_HZ];
  const bodies = await Promise.all(
    lengths.map((samples) => encodeAll('mp3', samplesToBytes(voiced(samples)))),
  );
  const single = await Promise.all(
    bodies.map((body) => decodeToPcm(body, { sampleRateHz: SAMPLE_RATE_HZ })),
  );
  const joined = await decodeToPcm(concatenate(bodies), { sampleRateHz: SAMPLE_RATE_HZ });
  expect(joined.length).toBe(single.reduce((sum, { length }) => sum + length, 0));
  const second = joined.subarray(single[0]?.length ?? 0);
  expect(signalToNoise(voiced(12_345), second, 1105)).toBeGreaterThan(20);
});

it('mp3 bodies hold frames alone, neither ID3 nor Xing', async () => {
  const body = Buffer.from(await encodeAll('mp3', samplesToBytes(voiced(SAMPLES))));
  expect([body[0], (body[1] ?? 0) & 0xe0]).toEqual([0xff, 0xe0]);
  for (const tag of ['ID3', 'TAG', 'Xing', 'Info']) expect(body.includes(tag)).toBe(false);
});

it.each(['mp3', 'opus', 'flac', 'wav', 'pcm'] as const)(
  '%s gives bytes within the first 200 ms of audio, and on in each 200 ms',
  async (format) => {
    const encoder = await createAudioEncoder(format);
    const pcm = samplesToBytes(voiced(SAMPLE_RATE_HZ));
    const sizes: number[] = [];
    for (let offset = 0; offset < pcm.length; offset += 9600) {
      sizes.push((await encoder.encode(pcm.subarray(offset, offset + 9600))).length);
    }
    encoder.close();
    expect(sizes).toHaveLength(5);
    for (const size of sizes) expect(size).toBeGreaterThan(0);
  },
);

it('wav tells that its length is not known', async () => {
  const streamed = Buffer.from(await encodeAll('wav', samplesToBytes(voiced(1000))));
  expect(streamed.readUInt32LE(4)).toBe(0xffff_ffff);
  expect(streamed.readUInt32LE(40)).toBe(0xffff_ffff);
});

it('flac tells its length once it is known, and is the same otherwise', async () => {
  const body = await encodeAll('flac', samplesToBytes(voiced(SAMPLES)));
  expect(await probeSeconds(body)).toBeNaN();
  const whole = Uint8Array.from(body);
  whole.set(withFlacLength(body, SAMPLES));
  expect(await probeSeconds(whole)).toBeCloseTo(SAMPLES / SAMPLE_RATE_HZ, 5);
  const rate = { sampleRateHz: SAMPLE_RATE_HZ };
  expect(await decodeToPcm(whole, rate)).toStrictEqual(await decodeToPcm(body, rate));
  // Two days: more than 32 bits hold.
  const seconds = 200_000;
  whole.set(withFlacLength(body, seconds * SAMPLE_RATE_HZ));
  expect(await probeSeconds(whole)).toBeCloseTo(seconds, 5);
});

/** CPU time of this thread: what others on the machine do does not count. */
function cpuMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}

/** Unsliced, each of these takes 350 ms or more. */
const LONG = [
  { format: 'mp3', seconds: 90 },
  { format: 'opus', seconds: 60 },
  { format: 'flac', seconds: 300 },
] as const;

it.each(LONG)('$format gives way to the event loop', async ({ format, seconds }) => {
  await warmAudioEncoders();
  const second = samplesToBytes(voiced(SAMPLE_RATE_HZ));
  const pcm = concatenate(Array.from({ length: seconds }, () => second));
  const encoder = await createAudioEncoder(format);
  let turns = 0;
  let longestMs = 0;
  let lastMs = cpuMs();
  let running = true;
  const tick = (): void => {
    const nowMs = cpuMs();
    longestMs = Math.max(longestMs, nowMs - lastMs);
    lastMs = nowMs;
    turns += 1;
    if (running) setImmediate(tick);
  };
  setImmediate(tick);
  await encoder.encode(pcm);
  running = false;
  encoder.close();
  expect(turns).toBeGreaterThan(10);
  expect(longestMs).toBeLessThan(20 * PATIENCE);
});

it('refuses aac with the name of what is missing', async () => {
  await expect(createAudioEncoder('aac', { ffmpegPath: '/nowhere/ffmpeg' })).rejects.toMatchObject({
    code: 'engine_failed',
    message: expect.stringContaining('apt-get install ffmpeg'),
  });
});
