import { z } from 'zod';

const milliseconds = z.number().optional();

/** Where a stream's time went: ms between two events, and what a listener heard of it. */
export const streamTimingsSchema = z.object({
  /** Stream opened, or its recordings heard → claimed by the worker whose output the client waits for. */
  queueMs: milliseconds,
  /** Recordings in a chat: stream opened → the last one heard. */
  transcriptMs: milliseconds,
  /** Chat job claimed → the model's first token. */
  firstTokenMs: milliseconds,
  /** The model's first token → the first phrase cut. */
  firstPhraseMs: milliseconds,
  /** First phrase cut (speech: stream opened) → its first samples in the gateway, time in the queue included. */
  synthesisMs: milliseconds,
  /** First samples in the gateway → their first encoded byte handed to the client's socket. */
  firstByteMs: milliseconds,
  /** The request came in → that byte: the whole. */
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
