/** Containers that an upload may have; told by magic bytes, never by name. */
export type UploadFormat = 'wav' | 'mp3' | 'flac' | 'ogg' | 'webm' | 'mp4' | 'aac';

/** The uploaded audio, readable more than once. */
export interface RecordedAudio {
  readonly format: UploadFormat;
  readonly sizeBytes: number;
  /** The file as it was uploaded. */
  bytes(): AsyncIterable<Uint8Array>;
  /**
   * Decoded to s16le mono at `sampleRateHz`. Throws `invalid_file_format`, `audio_too_short`
   * (under 0.1 s) or `audio_too_long`.
   */
  pcm(sampleRateHz: number, signal: AbortSignal): AsyncIterable<Uint8Array>;
}

/** `translate`: into English. */
export const TRANSCRIPTION_OPERATIONS = ['transcribe', 'translate'] as const;
export type TranscriptionOperation = (typeof TRANSCRIPTION_OPERATIONS)[number];

export interface TranscriptionRequest {
  audio: RecordedAudio;
  model: string;
  operation: TranscriptionOperation;
  /** ISO 639-1, as the client gave it. */
  language?: string;
  prompt?: string;
  /** 0 to 1. */
  temperature?: number;
  /** Whether the caller needs times of single words. */
  wordTimes: boolean;
  /** Nobody waits for it: what runs on this machine is to give way to all else (a line of a batch). */
  background?: boolean;
}

export interface TranscriptWord {
  word: string;
  startSeconds: number;
  endSeconds: number;
}

export interface TranscriptSegment {
  text: string;
  startSeconds: number;
  endSeconds: number;
  /** Mean log probability of the words, where the engine knows it. */
  averageLogProbability?: number;
  /** 0 to 1, where the engine knows it. */
  noSpeechProbability?: number;
}

/** What an engine yields; `finish` is last. The segments' texts joined by blanks are the transcript. */
export type TranscriptEvent =
  /** A finished segment, in order of time. Words only when asked for. */
  | { type: 'segment'; segment: TranscriptSegment; words?: TranscriptWord[] }
  | {
      type: 'finish';
      /** ISO 639-1 of what was heard. */
      language: string;
      /** Seconds of audio. */
      durationSeconds: number;
    };

/** Listens. */
export interface STTService {
  listModels(signal: AbortSignal): Promise<{ models: string[] }>;
  /** ISO 639-1 codes it understands; `any` when it cannot list them. */
  readonly languages: string[] | 'any';
  /**
   * Yields segments as they are recognised, then `finish`. Silence is a `finish` without segments.
   * Throws a VoiceError. When `signal` aborts, stops at once and throws `signal.reason`.
   */
  transcribe(request: TranscriptionRequest, signal: AbortSignal): AsyncIterable<TranscriptEvent>;
  close(): Promise<void>;
}
