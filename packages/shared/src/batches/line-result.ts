import { z } from 'zod';
import { AUDIO_FORMATS } from '../audio/audio-format.ts';

const segment = z.object({
  startSeconds: z.number(),
  endSeconds: z.number(),
  text: z.string(),
  averageLogProbability: z.number().optional(),
  noSpeechProbability: z.number().optional(),
});

/** A VoiceError, serialized. */
export const lineErrorSchema = z.object({
  code: z.string(),
  message: z.string(),
  param: z.string().nullable().optional(),
  retryAfterSeconds: z.number().optional(),
});

/**
 * How one line of a batch ended, as its worker tells it. The gateway makes what the endpoint would
 * have answered of it when it writes the batch's files.
 */
export const lineResultSchema = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('speech'),
    model: z.string(),
    voice: z.string(),
    format: z.enum(AUDIO_FORMATS),
    fileId: z.string(),
    bytes: z.number(),
    durationMs: z.number(),
  }),
  z.object({
    type: z.literal('transcript'),
    segments: z.array(segment),
    words: z.array(
      z.object({ word: z.string(), startSeconds: z.number(), endSeconds: z.number() }),
    ),
    language: z.string(),
    durationSeconds: z.number(),
  }),
  /** `body`: the whole chat completion, as JSON. */
  z.object({ type: z.literal('completion'), body: z.string() }),
  z.object({ type: z.literal('error'), error: lineErrorSchema }),
  /** Too large for Redis: another one of these as JSON, in the files' blob store. */
  z.object({ type: z.literal('stored'), blobId: z.string() }),
]);
export type LineResult = z.output<typeof lineResultSchema>;
