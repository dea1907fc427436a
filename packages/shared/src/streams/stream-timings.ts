import { z } from 'zod';

const milliseconds = z.number().optional();

/** Where a stream's time went: ms between two events, and what a listener heard of it. */
export const streamTimingsSchema = z.object({
  /** Stream opened → its first job claimed. */
  queueMs: milliseconds,
  /** First transcription claimed → the last one whole. */
  transcriptMs: milliseconds,
  /** Chat job claimed → the model's first token. */
  firstTokenMs: milliseconds,
  /** The model's first token → the first phrase cut. */
  firstPhraseMs: milliseconds,
  /** First phrase cut → its first samples in the gateway. */
  synthesisMs: milliseconds,
  /** Stream opened → first byte of the body handed to the client's socket. */
  firstByteMs: milliseconds,
  /** Stream opened → first byte of sound handed to the client's socket. */
  firstAudioMs: milliseconds,
  /** Times at which a listener who plays what has come had nothing to play. */
  gapCount: z.number().optional(),
  /** How long he had nothing, in all. */
  gapMs: milliseconds,
});

export type StreamTimings = z.output<typeof streamTimingsSchema>;

/** The state's field `timings`; `{}` when there is none, or of a version that wrote something else. */
export function parseTimings(field: string | undefined): StreamTimings {
  if (field === undefined) return {};
  try {
    return streamTimingsSchema.parse(JSON.parse(field));
  } catch {
    return {};
  }
}
