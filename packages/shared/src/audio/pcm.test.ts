import { describe, expect, it } from 'vitest';
import { clipToInt16, concatenate, createResampler, SampleAligner, samplesToBytes } from './pcm.ts';

function tone(samples: number, hertz: number, sampleRateHz: number): Int16Array {
  return Int16Array.from(
    { length: samples },
    (_, index) => 16_000 * Math.sin((2 * Math.PI * hertz * index) / sampleRateHz),
  );
}

function resample(
  input: Int16Array,
  { fromHz, toHz, cuts = [9600] }: { fromHz: number; toHz: number; cuts?: readonly number[] },
): Int16Array {
  const resampler = createResampler(fromHz, toHz);
  const bytes = samplesToBytes(input);
  const parts: Uint8Array[] = [];
  let offset = 0;
  for (let turn = 0; offset < bytes.length; turn += 1) {
    const end = offset + (cuts[turn % cuts.length] ?? bytes.length);
    parts.push(resampler.push(bytes.slice(offset, end)));
    offset = end;
  }
  parts.push(resampler.end());
  return new Int16Array(concatenate(parts).slice().buffer);
}

/** Signal to noise in dB, without the `edge` samples at both ends, where silence meets the tone. */
function signalToNoise(expected: Int16Array, actual: Int16Array, edge = 100): number {
  let signal = 0;
  let noise = 0;
  for (let index = edge; index < expected.length - edge; index += 1) {
    const value = expected[index] ?? 0;
    signal += value ** 2;
    noise += (value - (actual[index] ?? 0)) ** 2;
  }
  return 10 * Math.log10(signal / Math.max(1e-9, noise));
}

function peak(samples: Int16Array): number {
  return samples.reduce((highest, value) => Math.max(highest, Math.abs(value)), 0);
}

const RATES = [
  [8000, 24_000],
  [16_000, 24_000],
  [22_050, 24_000],
  [44_100, 24_000],
  [48_000, 24_000],
  [24_000, 16_000],
  [44_100, 16_000],
  [11_025, 16_000],
] as const;

describe.each(RATES)('createResampler(%i, %i)', (fromHz, toHz) => {
  it('keeps a tone at its place, pitch and loudness', () => {
    const output = resample(tone(fromHz, 1000, fromHz), { fromHz, toHz });
    expect(output.length).toBe(toHz);
    expect(signalToNoise(tone(toHz, 1000, toHz), output)).toBeGreaterThan(75);
  });

  it('gives the same samples however the input is cut', () => {
    const input = tone(fromHz / 4, 700, fromHz);
    const whole = resample(input, { fromHz, toHz, cuts: [input.byteLength] });
    expect(resample(input, { fromHz, toHz, cuts: [1, 2, 3, 999, 64, 5001] })).toEqual(whole);
  });

  it.each([0, 1, 2, 100, 12_347])('makes ceil(n * to / from) samples of %i', (samples) => {
    const output = resample(tone(samples, 400, fromHz), { fromHz, toHz });
    expect(output.length).toBe(Math.ceil((samples * toHz) / fromHz));
  });

  it('passes a constant unchanged', () => {
    const output = resample(new Int16Array(4000).fill(12_345), { fromHz, toHz });
    const inner = output.subarray(200, -200);
    expect(new Set(inner)).toEqual(new Set([12_345]));
  });
});

it('removes what the lower rate cannot hold', () => {
  const output = resample(tone(48_000, 10_000, 48_000), { fromHz: 48_000, toHz: 16_000 });
  expect(peak(output.subarray(100, -100))).toBeLessThan(16);
});

it('adds no image above the band it had', () => {
  // 3 kHz at 8 kHz has its first image at 5 kHz: filtered back down, the tone alone is left.
  const up = resample(tone(8000, 3000, 8000), { fromHz: 8000, toHz: 24_000 });
  expect(signalToNoise(tone(24_000, 3000, 24_000), up)).toBeGreaterThan(65);
});

it('works at rates without common factor, as hostile files have', () => {
  const fromHz = 383_999;
  const output = resample(tone(fromHz, 1000, fromHz), { fromHz, toHz: 16_000 });
  expect(output.length).toBe(16_000);
  expect(signalToNoise(tone(16_000, 1000, 16_000), output)).toBeGreaterThan(55);
});

it('clips instead of wrapping', () => {
  const square = Int16Array.from({ length: 4000 }, (_, index) =>
    index % 80 < 40 ? 32_767 : -32_768,
  );
  const output = resample(square, { fromHz: 16_000, toHz: 24_000 });
  // In the middle of each half wave the sign is the input's: an overflow would turn it.
  for (let middle = 30; middle < output.length; middle += 60) {
    const sign = (middle / 30) % 4 === 1 ? 1 : -1;
    expect(Math.sign(output[middle] ?? 0)).toBe(sign);
  }
  expect(peak(output)).toBeGreaterThanOrEqual(32_767);
});

it('hands on the bytes at equal rates, in whole samples', () => {
  const resampler = createResampler(24_000, 24_000);
  const pieces = [Uint8Array.of(1), Uint8Array.of(2, 3), Uint8Array.of(4, 5)];
  const passed = pieces.map((piece) => [...resampler.push(piece)]);
  expect([...passed, [...resampler.end()]]).toEqual([[], [1, 2], [3, 4], []]);
});

it('aligns samples at odd addresses', () => {
  const memory = Uint8Array.of(9, 1, 0, 2, 0, 3);
  const aligner = new SampleAligner();
  expect([...aligner.align(memory.subarray(1))]).toEqual([1, 2]);
  expect([...aligner.align(new Uint8Array(0))]).toEqual([]);
  expect([...aligner.align(Uint8Array.of(1))]).toEqual([259]);
  expect([...aligner.align(Uint8Array.of(4, 0))]).toEqual([4]);
});

it('rounds and clips to 16 bits', () => {
  const values = [0.4, -0.6, 40_000, -40_000, Number.NaN, Infinity, -Infinity];
  expect(values.map(clipToInt16)).toEqual([0, -1, 32_767, -32_768, 0, 32_767, -32_768]);
});
