import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type {
  TranscriptEvent,
  TranscriptSegment,
  TranscriptWord,
} from '@antiphon/shared/services/stt-service';
import { z } from 'zod';

const seconds = z.coerce.number().nonnegative();

/** `json` and `verbose_json` of all servers: whatever else is in them is left alone. */
const transcriptAnswer = z.object({
  text: z.string(),
  language: z.string().nullish(),
  /** gpt-transcribe names them here. */
  languages: z.array(z.object({ code: z.string() })).nullish(),
  /** A string on some servers. */
  duration: seconds.nullish(),
  segments: z
    .array(
      z.object({
        text: z.string(),
        start: seconds,
        end: seconds,
        avg_logprob: z.number().nullish(),
        no_speech_prob: z.number().nullish(),
      }),
    )
    .nullish(),
  words: z.array(z.object({ word: z.string(), start: seconds, end: seconds })).nullish(),
  usage: z.object({ seconds: seconds.optional() }).nullish(),
});

export type TranscriptAnswer = z.output<typeof transcriptAnswer>;

/** Throws `upstream_protocol` for what is no transcript: a proxy's page, a cut body. */
export function parseTranscriptAnswer(body: Buffer): TranscriptAnswer {
  try {
    return transcriptAnswer.parse(JSON.parse(body.toString()));
  } catch (cause) {
    const message =
      'The upstream server of this engine answered a transcription with something else than a transcript.';
    throw new VoiceError('upstream_protocol', { message, cause });
  }
}

/**
 * The answer's segments, blank ones left out; a server without segments gives one that is as long
 * as the recording. With `wordTimes`, each gets the words that begin before its end.
 */
export function* segmentsOf(
  answer: TranscriptAnswer,
  durationSeconds: number,
  wordTimes: boolean,
): Iterable<TranscriptEvent> {
  const segments = timedSegments(answer, durationSeconds);
  const words = (answer.words ?? []).map(presentableWord).filter(({ word }) => word !== '');
  let nextWord = 0;
  for (const [index, segment] of segments.entries()) {
    const isLast = index === segments.length - 1;
    const firstWord = nextWord;
    while (isLast ? nextWord < words.length : beginsBefore(words[nextWord], segment)) nextWord += 1;
    yield {
      type: 'segment',
      segment,
      ...(wordTimes ? { words: words.slice(firstWord, nextWord) } : {}),
    };
  }
}

function timedSegments(answer: TranscriptAnswer, durationSeconds: number): TranscriptSegment[] {
  const { segments, text } = answer;
  const given = segments?.length
    ? segments
    : [{ text, start: 0, end: durationSeconds, avg_logprob: null, no_speech_prob: null }];
  return given
    .map(({ text, start, end, avg_logprob: logProbability, no_speech_prob: noSpeech }) => ({
      text: text.trim(),
      startSeconds: start,
      endSeconds: end,
      ...(typeof logProbability === 'number' ? { averageLogProbability: logProbability } : {}),
      ...(typeof noSpeech === 'number' ? { noSpeechProbability: noSpeech } : {}),
    }))
    .filter(({ text }) => text !== '');
}

function presentableWord({ word, start, end }: { word: string; start: number; end: number }) {
  return { word: word.trim(), startSeconds: start, endSeconds: end };
}

function beginsBefore(word: TranscriptWord | undefined, segment: TranscriptSegment): boolean {
  return word !== undefined && word.startSeconds < segment.endSeconds;
}
