import { createPhraseSplitter } from '@antiphon/shared/text/phrase-splitter';
import { expect, test } from 'vitest';
import {
  VOICE_ANSWER_MS,
  askedMarker,
  markerOf,
  phraseSound,
  spokenMarker,
  voicePhrases,
  voiceRequestBody,
  voiceTokens,
} from './voice-script.ts';

test('an answer is known by its marker, in the request and in its first phrase alone', () => {
  const marker = markerOf(20_391);
  expect(marker).toBe('Vacadjb');
  expect(askedMarker(voiceRequestBody(marker, { modalities: ['text', 'audio'] }))).toBe(marker);
  expect(askedMarker('{"messages":[]}')).toBeUndefined();
  const { phrases } = voicePhrases(marker);
  expect(phrases.length).toBeGreaterThan(2);
  expect(phrases.map(({ text }) => spokenMarker(text))).toEqual([
    marker,
    ...phrases.slice(1).map(() => undefined),
  ]);
});

test('the boundary is the first token behind which the splitter cuts', () => {
  const marker = markerOf(1);
  const tokens = voiceTokens(marker);
  const { phrases, boundary } = voicePhrases(marker);
  const splitter = createPhraseSplitter();
  expect(tokens.slice(0, boundary).flatMap((token) => splitter.push(token))).toEqual([]);
  expect(splitter.push(tokens[boundary]!)).toEqual(phrases.slice(0, 1));
});

test('answers differ by nothing but their markers', () => {
  const [first, second] = [markerOf(7), markerOf(123_456)];
  expect(voiceTokens(second).join('')).toBe(voiceTokens(first).join('').replace(first, second));
  expect(VOICE_ANSWER_MS).toBeCloseTo(((voiceTokens(first).length - 1) / 30) * 1e3);
});

test('the sound of a phrase is as long as its text, and loud at once', () => {
  const bytes = phraseSound('1234567890');
  const samples = new Int16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);
  // 15 ms per character at 24 kHz.
  expect(samples).toHaveLength(3600);
  expect(Math.max(...samples.subarray(0, 24))).toBeGreaterThan(3000);
  expect(() => phraseSound('x'.repeat(1000))).toThrow('Too long a phrase');
});
