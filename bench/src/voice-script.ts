import { SAMPLE_RATE_HZ } from '@antiphon/shared/audio/audio-format';
import { createPhraseSplitter } from '@antiphon/shared/text/phrase-splitter';
import type { Phrase } from '@antiphon/shared/text/phrase-splitter';

/** Pace of the scripted model. */
export const VOICE_TOKENS_PER_SECOND = 30;
/** From a request for speech to its first sample. */
export const SPEECH_TAKES_MS = 120;
/**
 * A person needs 70. With 15 the sound of an answer lasts 2.5 times as long as its text is written,
 * so that 20 voices make the sound of 50 listeners, and not that of 230 answers at once.
 */
const SOUND_MS_PER_CHARACTER = 15;

/** Written behind the marker. The first sentence is the first phrase. */
const ANSWER = ` has heard the question and knows what to say. The rivers of the north \
freeze late in autumn and thaw when the first geese return. Nobody builds a bridge there before \
summer has come to stay.`;

const MARKER = /\bV[a-j]{6}\b/;
const PROMPT = /bench voice=(V[a-j]{6})/;
const DIGIT_A = 'a'.charCodeAt(0);

/** The name of answer `number`, in letters: it is spoken, and digits might be cut or spelled out. */
export function markerOf(number: number): string {
  const digits = String(number).padStart(6, '0');
  return `V${Array.from(digits, (digit) => String.fromCharCode(DIGIT_A + Number(digit))).join('')}`;
}

/** The marker in a request for an answer; undefined when it asks for something else. */
export function askedMarker(requestBody: string): string | undefined {
  return PROMPT.exec(requestBody)?.[1];
}

/** The marker in a phrase; only the first one of an answer has it. */
export function spokenMarker(phraseText: string): string | undefined {
  return MARKER.exec(phraseText)?.[0];
}

/** What the model is asked; `audio` makes it a spoken answer. */
export function voiceRequestBody(marker: string, audio?: object): string {
  const messages = [{ role: 'user', content: `bench voice=${marker}` }];
  return JSON.stringify({ model: 'bench', stream: true, messages, ...audio });
}

/** The answer as models cut it: a word with the blank before it, a mark. */
export function voiceTokens(marker: string): string[] {
  return `${marker}${ANSWER}`.match(/ ?\w+|[^\w ]/g) ?? [];
}

/** The answer's phrases, and the index of the token that lets the splitter cut the first one. */
export function voicePhrases(marker: string): { phrases: Phrase[]; boundary: number } {
  const splitter = createPhraseSplitter();
  const phrases: Phrase[] = [];
  let boundary = -1;
  voiceTokens(marker).forEach((token, index) => {
    phrases.push(...splitter.push(token));
    if (boundary < 0 && phrases.length > 0) boundary = index;
  });
  phrases.push(...splitter.end());
  if (boundary < 0) throw new Error('The scripted answer has no phrase boundary.');
  return { phrases, boundary };
}

/** How long an answer is written. */
export const VOICE_ANSWER_MS =
  ((voiceTokens(markerOf(0)).length - 1) / VOICE_TOKENS_PER_SECOND) * 1e3;

const LONGEST_SOUND_SECONDS = 10;
const TONE_HZ = 440;
const TONE = Int16Array.from(
  { length: SAMPLE_RATE_HZ * LONGEST_SOUND_SECONDS },
  (_, index) => 8000 * Math.sin((2 * Math.PI * TONE_HZ * index) / SAMPLE_RATE_HZ),
);

/** The sound of a phrase: s16le mono at `SAMPLE_RATE_HZ`, loud from its first sample on. */
export function phraseSound(text: string): Uint8Array {
  const samples = Math.round((text.length * SOUND_MS_PER_CHARACTER * SAMPLE_RATE_HZ) / 1e3);
  if (samples > TONE.length) throw new Error(`Too long a phrase: ${text}`);
  return new Uint8Array(TONE.buffer, 0, samples * TONE.BYTES_PER_ELEMENT);
}
