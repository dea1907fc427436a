import {
  AUDIO_FORMATS,
  type AudioFormat,
  SAMPLE_RATE_HZ,
} from '@antiphon/shared/audio/audio-format';
import { createAudioEncoder } from '@antiphon/shared/audio/create-audio-encoder';
import { concatenate, samplesToBytes } from '@antiphon/shared/audio/pcm';
import { PAUSE_MS } from '@antiphon/shared/audio/silence-trimmer';
import type { Pause } from '@antiphon/shared/text/pause';
import type { TTSService } from '@antiphon/shared/services/tts-service';
import { decodeToPcm } from '@antiphon/testing/decode-audio';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { espeak } from './engines/espeak.ts';
import { flite } from './engines/flite.ts';
import { phraseAudio } from './phrase-audio.ts';

const MS = SAMPLE_RATE_HZ / 1000;
const WINDOW = 5 * MS;
/** RMS under which a window is silence (-52 dBFS). */
const SILENT_RMS = 80;

interface Phrase {
  text: string;
  /** Left out: as the engine says it. */
  pause?: Pause;
}

/** Beginnings and ends that are soft (f, h, s, th), stops, every pause. */
const PHRASES: Required<Phrase>[] = [
  { text: 'She has seen the first of the fish.', pause: 'sentence' },
  { text: 'However,', pause: 'clause' },
  { text: 'five of the seven ships left the south', pause: 'none' },
  { text: 'through this path.', pause: 'paragraph' },
  { text: 'Half of it, I think, is left!', pause: 'sentence' },
  { text: 'That is enough.', pause: 'sentence' },
];
/**
 * Samples that a decoder puts before the audio, and the RMS under which it is silent: codecs leave
 * noise beside sounds, opus up to 240 in the 20 ms before one that sets in from zeros.
 */
const CODECS: Partial<Record<AudioFormat, { delay?: number; level: number }>> = {
  mp3: { delay: 1105, level: 240 },
  aac: { delay: 1024, level: 240 },
  opus: { level: 240 },
};
const VOICES: Record<string, string[]> = {
  flite: ['slt', 'rms', 'awb', 'kal', 'kal16', 'shimmer'],
  espeak: ['en-us', 'de'],
};

const engines: Record<string, TTSService> = {};
beforeAll(async () => {
  const context = { concurrency: 1, warn: (message: string) => expect.fail(message) };
  engines['flite'] = await flite.createFrom({}, context);
  engines['espeak'] = await espeak.createFrom({}, context);
});
afterAll(async () => {
  await Promise.all(Object.values(engines).map((engine) => engine.close()));
});

async function speak(engine: TTSService, voice: string, { text, pause }: Phrase) {
  const job = {
    ...{ version: 1 as const, streamId: 's', tenantId: 't', gatewayId: 'g', model: 'm' },
    ...{ phraseIndex: 0, text, voice, speed: 1 },
    ...(pause === undefined ? {} : { pause }),
  };
  const parts: Uint8Array[] = [];
  for await (const part of phraseAudio(engine, job, new AbortController().signal)) {
    parts.push(part.slice());
  }
  return new Int16Array(concatenate(parts).slice().buffer);
}

function join(parts: Int16Array[]): Int16Array {
  return new Int16Array(concatenate(parts.map(samplesToBytes)).slice().buffer);
}

function rms(samples: Int16Array): number {
  let energy = 0;
  for (const value of samples) energy += value * value;
  return Math.sqrt(energy / samples.length);
}

/** The silence around a place, in samples: no 5 ms of it reach `level`, wherever they begin. */
function silenceAt(samples: Int16Array, place: number, level = SILENT_RMS) {
  const isLoud = (start: number) => rms(samples.subarray(start, start + WINDOW)) >= level;
  let start = place - WINDOW;
  while (start > 0 && !isLoud(start)) start -= MS;
  let end = place;
  while (end + WINDOW < samples.length && !isLoud(end)) end += MS;
  return { start: start + WINDOW, end };
}

function largestJump(samples: Int16Array): number {
  let largest = 0;
  for (let index = 1; index < samples.length; index += 1) {
    largest = Math.max(largest, Math.abs((samples[index] ?? 0) - (samples[index - 1] ?? 0)));
  }
  return largest;
}

/** Between the first sample and the last one that are clearly speech. */
function speechOf(samples: Int16Array) {
  const isSpeech = (value: number) => Math.abs(value) >= 400;
  return { first: samples.findIndex(isSpeech), last: samples.findLastIndex(isSpeech) };
}

const cases = Object.entries(VOICES).flatMap(([name, voices]) =>
  voices.map((voice) => ({ name, voice })),
);

describe.each(cases)('$name as $voice', ({ name, voice }) => {
  let whole: Int16Array[];
  let trimmed: Int16Array[];
  let joined: Int16Array;
  /** Where one phrase meets the next, and how long it has to be silent there. */
  let seams: { place: number; pauseMs: number }[];
  beforeAll(async () => {
    const engine = engines[name] as TTSService;
    whole = [];
    trimmed = [];
    for (const { text, pause } of PHRASES) {
      whole.push(await speak(engine, voice, { text }));
      trimmed.push(await speak(engine, voice, { text, pause }));
    }
    joined = join(trimmed);
    let place = 0;
    seams = PHRASES.slice(0, -1).map(({ pause }, index) => {
      place += trimmed[index]?.length ?? 0;
      return { place, pauseMs: PAUSE_MS[pause] };
    });
  });

  it('is silent at every seam for as long as was asked', () => {
    for (const { place, pauseMs } of seams) {
      const { start, end } = silenceAt(joined, place);
      expect(Math.abs((end - start) / MS - pauseMs)).toBeLessThanOrEqual(10);
    }
  });

  it('does not click there', () => {
    // No step is larger than those of the engine itself where it is as quiet.
    let own = 0;
    for (const samples of whole) {
      for (let start = 0; start + WINDOW <= samples.length; start += MS) {
        const window = samples.subarray(start, start + WINDOW);
        if (rms(window) < SILENT_RMS) own = Math.max(own, largestJump(window));
      }
    }
    for (const { place } of seams) {
      const { start, end } = silenceAt(joined, place);
      expect(largestJump(joined.subarray(start, end))).toBeLessThanOrEqual(own);
    }
  });

  it('says all that the engine said, with its own pauses', () => {
    whole.forEach((samples, index) => {
      const part = trimmed[index] ?? new Int16Array();
      const [before, after] = [speechOf(samples), speechOf(part)];
      const speech = part.subarray(after.first, after.last + 1);
      expect(speech.length).toBeGreaterThan(200 * MS);
      expect(speech).toEqual(samples.subarray(before.first, before.last + 1));
      // Next to it nothing was dropped but hiss.
      const energy = (audio: Int16Array) => rms(audio) ** 2 * audio.length;
      expect(energy(part) / energy(samples)).toBeGreaterThan(0.9999);
      const dropped = samples.subarray(0, Math.max(0, before.first - after.first));
      for (let start = 0; start + WINDOW <= dropped.length; start += WINDOW) {
        expect(rms(dropped.subarray(start, start + WINDOW))).toBeLessThan(SILENT_RMS);
      }
    });
  });

  it.each(AUDIO_FORMATS.filter((format) => format !== 'pcm'))('pauses so in %s', async (format) => {
    const encoder = await createAudioEncoder(format);
    const parts: Uint8Array[] = [];
    for (const part of trimmed) parts.push(await encoder.encode(samplesToBytes(part)));
    parts.push(await encoder.end());
    encoder.close();
    const decoded = await decodeToPcm(concatenate(parts), { sampleRateHz: SAMPLE_RATE_HZ });
    const { delay = 0, level } = CODECS[format] ?? { level: SILENT_RMS };
    const longer = decoded.length - joined.length;
    expect(longer).toBeGreaterThanOrEqual(delay);
    // Their last frame is filled up.
    expect(longer - delay).toBeLessThanOrEqual(delay === 0 ? 0 : 1152);
    for (const { place } of seams) {
      const was = silenceAt(joined, place, level);
      const is = silenceAt(decoded, place + delay, level);
      expect(Math.abs(is.end - is.start - (was.end - was.start)) / MS).toBeLessThanOrEqual(30);
    }
  });
});
