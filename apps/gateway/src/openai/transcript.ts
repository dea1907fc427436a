import type { TranscriptSegment, TranscriptWord } from '@antiphon/shared/services/stt-service';

/** All that was heard in a recording. */
export interface Transcript {
  segments: TranscriptSegment[];
  words: TranscriptWord[];
  /** ISO 639-1. */
  language: string;
  durationSeconds: number;
}

export const transcriptText = ({ segments }: Transcript): string =>
  segments.map(({ text }) => text).join(' ');
