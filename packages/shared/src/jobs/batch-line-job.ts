import { z } from 'zod';
import { AUDIO_FORMATS } from '../audio/audio-format.ts';
import { phraseTextSchema, queueName, recordingFields, type Stage } from './job-catalog.ts';

const speechLineSchema = z.object({
  type: z.literal('speech'),
  /** The text, cut as for a stream. */
  phrases: z.array(phraseTextSchema),
  voice: z.string(),
  speed: z.number(),
  instructions: z.string().optional(),
  language: z.string().optional(),
  format: z.enum(AUDIO_FORMATS),
  /** Of the sound's file, until the batch ends: Unix seconds. */
  expiresAtSeconds: z.number().int(),
});
export type SpeechLine = z.output<typeof speechLineSchema>;

const transcriptionLineSchema = z.object({
  type: z.literal('transcription'),
  fileId: z.string().min(1),
  /** Of the recording, when that is not the file's id. */
  blobId: z.string().min(1).optional(),
  ...recordingFields,
});
export type TranscriptionLine = z.output<typeof transcriptionLineSchema>;

const chatLineSchema = z.object({
  type: z.literal('chat'),
  choiceCount: z.number().int().min(1),
  /** The line's body with `model` resolved; a large one lies in the files' blob store. */
  requestJson: z.string().optional(),
  requestBlobId: z.string().optional(),
});
export type ChatLine = z.output<typeof chatLineSchema>;

/** One line of a batch; runs in the queue `batchQueueName` of the engine that it is for. */
export const batchLineJobSchema = z.object({
  version: z.literal(1),
  batchId: z.string().min(1),
  /** From 0. */
  line: z.number().int().min(0),
  tenantId: z.string().min(1),
  model: z.string().min(1),
  /** For the log: of the request that made the batch. */
  requestId: z.string().optional(),
  work: z.discriminatedUnion('type', [speechLineSchema, transcriptionLineSchema, chatLineSchema]),
});
export type BatchLineJob = z.output<typeof batchLineJobSchema>;

/** Times a line is tried before its error is its result; what a busy upstream puts off does not count. */
export const BATCH_LINE_ATTEMPTS = 3;

/**
 * Of each line's job in BullMQ: after a failure it waits for 2.5 to 5 s, after the next for 5 to 10.
 * Nothing of a line stays; a job that is gone without a result can be put in again.
 */
export const BATCH_LINE_JOB_OPTIONS = {
  attempts: BATCH_LINE_ATTEMPTS,
  backoff: { type: 'exponential', delay: 5000, jitter: 0.5 },
  removeOnComplete: true,
  removeOnFail: true,
};

/** For all that one line takes but waits for its turns, in ms; a transcription has max(this, 3 x audio). */
export const BATCH_LINE_TOTAL_MS = 600_000;

/** Beside the engine's own queue, so that what somebody waits for never stands behind it. */
export function batchQueueName(stage: Stage, engine: string): string {
  return `${queueName(stage, engine)}-batch`;
}

/** Also makes a second enqueue of the same line harmless. */
export const batchLineJobId = (batchId: string, line: number): string => `${batchId}-${line}`;
