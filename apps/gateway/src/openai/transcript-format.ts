import { languageName } from '@antiphon/shared/services/language-names';
import type {
  TranscriptSegment,
  TranscriptionOperation,
} from '@antiphon/shared/services/stt-service';
import { type Transcript, transcriptText } from './transcript.ts';

export const TRANSCRIPT_FORMATS = ['json', 'text', 'srt', 'verbose_json', 'vtt'] as const;
export type TranscriptFormat = (typeof TRANSCRIPT_FORMATS)[number];

/** What `timestamp_granularities` may ask for. */
export const TIME_GRANULARITIES = ['word', 'segment'] as const;
type TimeGranularity = (typeof TIME_GRANULARITIES)[number];

export interface TranscriptFormatOptions {
  format: TranscriptFormat;
  operation: TranscriptionOperation;
  /** Segments unless only words were asked for. */
  granularities: TimeGranularity[];
}

/** The SDKs decide by the content type how they parse (contract, section 3). */
const JSON_TYPE = 'application/json';
const TEXT_TYPE = 'text/plain; charset=utf-8';

/** The body a client asked for; texts end with a line feed. */
export function formatTranscript(
  transcript: Transcript,
  options: TranscriptFormatOptions,
): { body: string; contentType: string } {
  const text = transcriptText(transcript);
  switch (options.format) {
    case 'text':
      return { body: `${text}\n`, contentType: TEXT_TYPE };
    case 'srt':
      return { body: formatSrt(transcript.segments), contentType: TEXT_TYPE };
    case 'vtt':
      return { body: formatVtt(transcript.segments), contentType: TEXT_TYPE };
    case 'verbose_json':
      return { body: JSON.stringify(verbose(transcript, options)), contentType: JSON_TYPE };
    case 'json': {
      const usage = durationUsage(transcript);
      return { body: JSON.stringify({ text, usage }), contentType: JSON_TYPE };
    }
  }
}

const durationUsage = ({ durationSeconds }: Transcript) => ({
  type: 'duration',
  seconds: Math.ceil(durationSeconds),
});

function verbose(transcript: Transcript, { operation, granularities }: TranscriptFormatOptions) {
  const { segments, words, language, durationSeconds } = transcript;
  const wantsWords = granularities.includes('word');
  const wantsSegments = granularities.includes('segment') || !wantsWords;
  return {
    task: operation,
    language: languageName(language),
    duration: round(durationSeconds),
    text: transcriptText(transcript),
    ...(wantsSegments ? { segments: segments.map((segment, id) => wireSegment(segment, id)) } : {}),
    ...(wantsWords
      ? {
          words: words.map(({ word, startSeconds, endSeconds }) => ({
            word,
            start: round(startSeconds),
            end: round(endSeconds),
          })),
        }
      : {}),
    usage: durationUsage(transcript),
  };
}

/** All fields clients rely on; what an engine does not know has Whisper's neutral value. */
function wireSegment(segment: TranscriptSegment, id: number) {
  return {
    id,
    seek: Math.floor(segment.startSeconds * 100),
    start: round(segment.startSeconds),
    end: round(segment.endSeconds),
    text: segment.text,
    tokens: [],
    temperature: 0,
    avg_logprob: segment.averageLogProbability ?? 0,
    compression_ratio: 1,
    no_speech_prob: segment.noSpeechProbability ?? 0,
  };
}

const round = (seconds: number): number => Math.round(seconds * 1000) / 1000;

function formatSrt(segments: TranscriptSegment[]): string {
  return segments
    .map(
      ({ startSeconds, endSeconds, text }, index) =>
        `${index + 1}\n${timestamp(startSeconds, ',')} --> ${timestamp(endSeconds, ',')}\n${cue(text)}\n\n`,
    )
    .join('');
}

function formatVtt(segments: TranscriptSegment[]): string {
  const cues = segments.map(
    ({ startSeconds, endSeconds, text }) =>
      `${timestamp(startSeconds, '.')} --> ${timestamp(endSeconds, '.')}\n${cue(text)}\n\n`,
  );
  return `WEBVTT\n\n${cues.join('')}`;
}

/** An arrow or an empty line in a text would end the cue. */
const cue = (text: string): string =>
  text
    .replaceAll('-->', '->')
    .replaceAll(/\n{2,}/g, '\n')
    .trim();

/** `01:02:03,004`. */
function timestamp(seconds: number, mark: string): string {
  const ms = Math.max(0, Math.round(seconds * 1000));
  const pad = (value: number, length: number) => String(value).padStart(length, '0');
  const clock = [ms / 3_600_000, (ms / 60_000) % 60, (ms / 1000) % 60]
    .map((value) => pad(Math.floor(value), 2))
    .join(':');
  return `${clock}${mark}${pad(ms % 1000, 3)}`;
}
