import { SAMPLE_RATE_HZ } from '@antiphon/shared/audio/audio-format';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { PhraseText } from '@antiphon/shared/jobs/job-catalog';
import type { SpeechTemplate } from '@antiphon/shared/queue/phrase-release';
import type { KnownWorker } from '@antiphon/shared/queue/worker-registry';
import type { StreamOpening } from '@antiphon/shared/streams/stream-log';
import { createPhraseSplitter } from '@antiphon/shared/text/phrase-splitter';
import type { SpeechRequest } from '../openai/speech-request.ts';

/** Audio that may be made and not yet sent: enough that no phrase is late, little to throw away. */
const AHEAD_SECONDS = 5;

/** What the stream of a spoken answer is opened with, besides what every stream has. */
export type SpeechOpening = Pick<StreamOpening, 'speech' | 'parallelPhrases' | 'aheadSamples'>;

/** Where the phrases of one stream are spoken, and how. */
export function planSpeech(
  { queueName, parallelPhrases }: KnownWorker,
  job: Omit<SpeechTemplate['job'], 'version'>,
): SpeechOpening {
  const template: SpeechTemplate = { queueName, job: { version: 1, ...job } };
  return {
    speech: JSON.stringify(template),
    parallelPhrases: parallelPhrases ?? 1,
    aheadSamples: AHEAD_SECONDS * SAMPLE_RATE_HZ,
  };
}

/** What every phrase of a request has in common. */
export function spokenHow({ speed, instructions, language }: SpeechRequest) {
  return {
    speed: speed ?? 1,
    ...(typeof instructions === 'string' ? { instructions } : {}),
    ...(typeof language === 'string' ? { language } : {}),
  };
}

export interface CutOptions {
  markdown: boolean;
  maxCharacters: number | undefined;
  /** By somebody who hears the first phrase while the others are made. */
  isAwaited: boolean;
}

/** Throws `invalid_value` when nothing of the text can be said. */
export function cutPhrases(
  { input, language }: SpeechRequest,
  { markdown, maxCharacters, isAwaited }: CutOptions,
): PhraseText[] {
  const splitter = createPhraseSplitter({
    ...{ markdown, isAwaited },
    ...(typeof language === 'string' ? { language } : {}),
    ...(maxCharacters === undefined ? {} : { maxCharacters }),
  });
  const phrases = [...splitter.push(input), ...splitter.end()];
  if (phrases.length === 0) {
    throw new VoiceError('invalid_value', {
      param: 'input',
      message: "Invalid 'input': it has no letter or digit that could be spoken.",
    });
  }
  return phrases.map(({ text, pause }) => ({ text, pause }));
}
