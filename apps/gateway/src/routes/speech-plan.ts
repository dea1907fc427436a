import { SAMPLE_RATE_HZ } from '@antiphon/shared/audio/audio-format';
import type { SpeechTemplate } from '@antiphon/shared/queue/phrase-release';
import type { KnownWorker } from '@antiphon/shared/queue/worker-registry';
import type { StreamOpening } from '@antiphon/shared/streams/stream-log';

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
