import { z } from 'zod';
import { TRANSCRIPTION_OPERATIONS } from '../services/stt-service.ts';
import { PAUSES } from '../text/pause.ts';

/** Raised when a field changes its meaning. A rolling restart mixes two versions: new fields are optional. */
const version = z.literal(1);

const common = {
  version,
  streamId: z.string().min(1),
  tenantId: z.string().min(1),
  /** Whose lease keeps the stream alive. */
  gatewayId: z.string().min(1),
  model: z.string().min(1),
  /** For the log: of the request that it is part of. Filled in by the job producer. */
  requestId: z.string().optional(),
};

/** What an engine is given of a phrase; in the stream's state while it waits. */
export const phraseTextSchema = z.object({
  text: z.string(),
  /** How long the silence behind it is, by the mark it ended at. */
  pause: z.enum(PAUSES).optional(),
});
export type PhraseText = z.output<typeof phraseTextSchema>;

/** A message part that stands for a recording: the llm-worker puts the transcript there. */
export const TRANSCRIPT_PART = 'antiphon_transcript';

export const chatJobSchema = z.object({
  ...common,
  stream: z.boolean(),
  choiceCount: z.number().int().min(1),
  /** The client's body with `model` resolved; a large one lies in the blob store. */
  requestJson: z.string().optional(),
  requestBlobId: z.string().optional(),
  /** The body has parts of type `TRANSCRIPT_PART`. */
  hasTranscripts: z.boolean().optional(),
  /** The answer is spoken: its text is cut into phrases. `stream` is true then. */
  audio: z
    .object({
      /** What of the text is shown besides the transcript of what is said. */
      content: z.enum(['code', 'full', 'none']),
      /** Nothing is said: the text is shown only. */
      silent: z.boolean().optional(),
      maxPhraseCharacters: z.number().int().optional(),
    })
    .optional(),
});
export type ChatJob = z.output<typeof chatJobSchema>;

export const speechJobSchema = z.object({
  ...common,
  phraseIndex: z.number().int().min(0),
  ...phraseTextSchema.shape,
  /** What a phrase that failed for good does: ends alone, told by `phrase-error`, or ends the stream. */
  onPhraseError: z.enum(['skip', 'fail']).optional(),
  voice: z.string(),
  speed: z.number(),
  instructions: z.string().optional(),
  language: z.string().optional(),
});
export type SpeechJob = z.output<typeof speechJobSchema>;

/** What an engine needs to know of a recording, wherever its bytes lie. */
export const recordingFields = {
  format: z.enum(['wav', 'mp3', 'flac', 'ogg', 'webm', 'mp4', 'aac']),
  sizeBytes: z.number().int(),
  operation: z.enum(TRANSCRIPTION_OPERATIONS),
  language: z.string().optional(),
  prompt: z.string().optional(),
  temperature: z.number().optional(),
  wordTimes: z.boolean(),
  maxAudioSeconds: z.number(),
};

export const transcriptionJobSchema = z.object({
  ...common,
  blobId: z.string().min(1),
  ...recordingFields,
  /** A recording in a chat: its number there, and under which key its transcript is kept for so long. */
  chatPart: z
    .object({
      partIndex: z.number().int(),
      transcriptKey: z.string(),
      keepMs: z.number().int(),
      /** What the client calls the recording, for an error's `param`. */
      param: z.string().optional(),
    })
    .optional(),
});
export type TranscriptionJob = z.output<typeof transcriptionJobSchema>;

/** In the order in which an answer passes them, but for recordings in a chat: those come first. */
export const STAGES = ['llm', 'tts', 'stt'] as const;
export type Stage = (typeof STAGES)[number];

/** How long a stream may take for what, in ms; docs/lifecycle.md. `Infinity`: no such limit. */
export interface Deadlines {
  /** Until a worker takes the job. */
  queueMs: number;
  /** From then to the first event. */
  firstEventMs: number;
  /** Between events. */
  idleMs: number;
  /** For everything. */
  totalMs: number;
}

/**
 * One row per queue: who runs it, the shape of its data, the name of the producer a job is, how
 * often BullMQ may try it (streams: once; their retry is inside the handler), its stream's deadlines
 * (of speech: a chat's, as configured).
 */
export const JOB_CATALOG = {
  chat: {
    stage: 'llm',
    schema: chatJobSchema,
    producer: (_job: ChatJob) => 'chat',
    attempts: 1,
    deadlines: { queueMs: 30_000, firstEventMs: 120_000, idleMs: 60_000, totalMs: 600_000 },
  },
  speech: {
    stage: 'tts',
    schema: speechJobSchema,
    producer: (job: SpeechJob) => `phrase-${job.phraseIndex}`,
    attempts: 1,
  },
  transcription: {
    stage: 'stt',
    schema: transcriptionJobSchema,
    producer: ({ chatPart }: TranscriptionJob) =>
      chatPart ? `transcription-${chatPart.partIndex}` : 'transcription',
    attempts: 1,
    // The worker itself holds to max(120 s, 3 x audio), since only it knows how long the audio is.
    deadlines: {
      queueMs: 30_000,
      firstEventMs: Number.POSITIVE_INFINITY,
      idleMs: Number.POSITIVE_INFINITY,
      totalMs: Number.POSITIVE_INFINITY,
    },
  },
} as const satisfies Record<
  string,
  {
    stage: Stage;
    schema: z.ZodType;
    producer: (job: never) => string;
    attempts: number;
    deadlines?: Deadlines;
  }
>;

export type JobKind = keyof typeof JOB_CATALOG;

export interface JobData {
  chat: ChatJob;
  speech: SpeechJob;
  transcription: TranscriptionJob;
}

/** One queue per stage and engine, so that engines scale apart: `tts-flite`. */
export function queueName(stage: Stage, engine: string): string {
  return `${stage}-${engine}`;
}
