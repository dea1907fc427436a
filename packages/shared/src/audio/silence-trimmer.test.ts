import { describe, expect, it } from 'vitest';
import { SAMPLE_RATE_HZ } from './audio-format.ts';
import { concatenate, samplesToBytes } from './pcm.ts';
import type { Pause } from '../text/pause.ts';
import { PAUSE_MS, SilenceTrimmer } from './silence-trimmer.ts';

const MS = SAMPLE_RATE_HZ / 1000;
const LEAD = 15 * MS;
const PAUSES = Object.keys(PAUSE_MS) as Pause[];

/** A sine that begins and ends at zero crossings when `samples` is a multiple of 60. */
function tone(samples: number, amplitude = 8000): Int16Array {
  return Int16Array.from({ length: samples }, (_, index) =>
    Math.round(amplitude * Math.sin((2 * Math.PI * 400 * index) / SAMPLE_RATE_HZ)),
  );
}

/** The hiss of a voice that pauses: RMS 30, repeatable. */
function hiss(samples: number): Int16Array {
  let state = 7;
  return Int16Array.from({ length: samples }, () => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return Math.round((state / 2_147_483_648 - 0.5) * 104);
  });
}

function join(...parts: Int16Array[]): Int16Array {
  return new Int16Array(concatenate(parts.map(samplesToBytes)).slice().buffer);
}

/** `cuts`: sizes of the pieces in bytes, used in turn. */
function trim(input: Int16Array, pause: Pause, cuts: readonly number[] = [9600]): Int16Array {
  const trimmer = new SilenceTrimmer(pause);
  const bytes = samplesToBytes(input);
  const parts: Uint8Array[] = [];
  let offset = 0;
  for (let turn = 0; offset < bytes.length; turn += 1) {
    const piece = bytes.slice(offset, offset + (cuts[turn % cuts.length] ?? bytes.length));
    offset += piece.length;
    parts.push(trimmer.push(piece));
    // The caller may use its memory again after the call.
    piece.fill(0x55);
  }
  parts.push(trimmer.end());
  return new Int16Array(concatenate(parts).slice().buffer);
}

function largestJump(samples: Int16Array): number {
  let largest = 0;
  samples.forEach((value, index) => {
    largest = Math.max(largest, Math.abs(value - (samples[index - 1] ?? value)));
  });
  return largest;
}

describe.each(PAUSES)('with the pause %s', (pause) => {
  const tail = PAUSE_MS[pause] * MS - LEAD;

  it.each([
    ['much more', 300 * MS, 700 * MS],
    ['none', 0, 0],
    ['a little', 5 * MS, 10 * MS],
    ['some off the grid', 1111, 2222],
  ])('puts the sound of an engine that gives %s between silences of a set length', (...row) => {
    const [, before, after] = row;
    const sound = tone(500 * MS);
    const output = trim(join(hiss(before), sound, hiss(after)), pause);
    // Sound of which less than a frame reaches into one may count as silence.
    const offset = output.findIndex((value) => Math.abs(value) > 104);
    expect(Math.abs(offset - LEAD)).toBeLessThanOrEqual(5 * MS);
    const last = output.findLastIndex((value) => Math.abs(value) > 104);
    expect(Math.abs(output.length - 1 - last - tail)).toBeLessThanOrEqual(5 * MS);
    expect(output.length % (5 * MS)).toBe(0);
    // The sound itself is there, to the sample.
    const start = offset - sound.findIndex((value) => Math.abs(value) > 104);
    expect(output.subarray(start, start + sound.length)).toEqual(sound);
    expect(Math.abs(output.at(-1) ?? 99)).toBeLessThanOrEqual(1);
  });

  it('makes of silence the pause alone', () => {
    for (const silent of [0, 1, 119, 120, 50_000]) {
      const expected = new Int16Array(PAUSE_MS[pause] * MS);
      expect(trim(new Int16Array(silent), pause)).toEqual(expected);
      expect(trim(hiss(silent), pause)).toEqual(expected);
    }
  });
});

it('gives the same samples however the input was cut', () => {
  const gap = join(tone(4321), hiss(12_345), tone(6789, 500), new Int16Array(777), tone(999));
  const input = join(hiss(5001), gap, hiss(9001));
  for (const pause of PAUSES) {
    const whole = trim(input, pause, [input.byteLength]);
    for (const cuts of [[1], [2, 3], [240], [239, 241], [1, 5003, 64, 20_000]]) {
      expect(trim(input, pause, cuts)).toEqual(whole);
    }
  }
});

it('changes nothing between the first sound and the last', () => {
  const gap = join(tone(2400), hiss(24_000), tone(2400, 300), new Int16Array(9600), tone(2400));
  const output = trim(join(new Int16Array(2400), gap), 'clause');
  expect(output.subarray(LEAD, LEAD + gap.length)).toEqual(gap);
});

it('keeps a soft onset and a soft end', () => {
  const soft = Int16Array.from(tone(20 * MS, 90)); // RMS 64: softer than what counts as sound
  const input = join(hiss(100 * MS), soft, tone(100 * MS), soft, hiss(100 * MS));
  const output = trim(input, 'clause');
  const middle = 10 * MS; // The last 10 ms of the onset lie behind the fade.
  const start = LEAD - middle;
  expect(output.subarray(start, LEAD)).toEqual(soft.subarray(soft.length - middle));
  const end = LEAD + 100 * MS;
  expect(output.subarray(end, end + soft.length)).toEqual(soft);
});

it('makes no click where the engine broke off within a sound', () => {
  for (const length of [2400, 2401, 2459, 2460, 2461, 2519]) {
    const output = trim(tone(length + 15), 'sentence');
    expect(largestJump(output.subarray(LEAD + 2400))).toBeLessThanOrEqual(largestJump(tone(2400)));
  }
});

it('makes none either when nothing came last', () => {
  const trimmer = new SilenceTrimmer('sentence');
  const sound = tone(2505).subarray(105); // Whole frames, the last sample at a peak.
  const parts = [trimmer.push(samplesToBytes(sound)), trimmer.push(new Uint8Array(0))];
  const output = new Int16Array(concatenate([...parts, trimmer.end()]).slice().buffer);
  expect(largestJump(output.subarray(LEAD))).toBeLessThanOrEqual(largestJump(tone(2400)));
});

it('makes no click where it cuts a hiss', () => {
  const output = trim(join(hiss(9960), tone(2400), hiss(9999)), 'clause');
  const own = hiss(9960).subarray(-LEAD);
  expect(output[0]).toBe(0);
  const faded = own.slice(0, 5 * MS).map((sample, index) => Math.round((sample * index) / 120));
  expect(output.subarray(0, 5 * MS)).toEqual(faded);
  expect(output.subarray(5 * MS, LEAD)).toEqual(own.subarray(5 * MS));
  const quiet = largestJump(hiss(9999));
  expect(largestJump(output.subarray(0, LEAD))).toBeLessThanOrEqual(quiet);
  // The sound of the last frame may end within it.
  const after = join(output, new Int16Array(1)).subarray(LEAD + 2400 + 5 * MS);
  expect(largestJump(after)).toBeLessThanOrEqual(quiet);
});

it('lets sound through at once and holds silence back until it is decided', () => {
  const trimmer = new SilenceTrimmer('sentence');
  const push = (samples: Int16Array) => trimmer.push(samplesToBytes(samples)).length / 2;
  expect(push(hiss(24_000))).toBe(0);
  expect(push(tone(2400))).toBe(LEAD + 2400);
  expect(push(tone(2399))).toBe(2280); // The frame that is not whole yet waits.
  expect(push(tone(1))).toBe(120);
  expect(push(new Int16Array(12_000))).toBe(0);
  expect(push(tone(2400))).toBe(14_400);
});
