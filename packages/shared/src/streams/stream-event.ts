import type { SerializedVoiceError } from '../errors/voice-error.ts';
import type { FinishReason, TokenUsage } from '../services/ai-service.ts';
import type { TranscriptSegment, TranscriptWord } from '../services/stt-service.ts';

/** What stands in a stream's log. Names are noun-verb; `docs/lifecycle.md` tells who writes which. */
export type StreamEvent =
  /** A worker took the job. Ends the queue deadline; never sent to clients. */
  | { type: 'job-claim'; producer: string; workerId: string; epoch: number; lastIndex: number }
  /** Bytes of the chat answer, ready for the client: whole SSE frames, or a piece of the JSON answer. */
  | { type: 'text-delta'; bytes: Uint8Array }
  /** `answer`: all that the model wrote, where the answer is spoken. */
  | {
      type: 'text-end';
      finishReason: FinishReason;
      usage?: TokenUsage;
      phraseCount?: number;
      answer?: string;
    }
  /**
   * A spoken answer: what is shown and not said, as OpenAI's `delta` object without audio. An empty one
   * tells that the model writes something of which nothing is shown either.
   */
  | { type: 'message-delta'; delta: Record<string, unknown> }
  /**
   * A spoken answer: a phrase was cut and waits for its voice. `before` stands between it and the
   * phrase before in the transcript. The first one tells when the model began, ms after its claim.
   */
  | {
      type: 'phrase-start';
      phraseIndex: number;
      text: string;
      before: string;
      firstTokenMs?: number;
    }
  /** s16le mono at `SAMPLE_RATE_HZ`. `cache`: what the cache of speech said, where there is one. */
  | {
      type: 'audio-delta';
      phraseIndex: number;
      chunkIndex: number;
      pcm: Uint8Array;
      cache?: 'hit' | 'miss';
    }
  /** `cached`: all of its sound came from the cache. */
  | { type: 'audio-end'; phraseIndex: number; cached?: true }
  /** One phrase failed for good; its audio ends at the last whole chunk. */
  | { type: 'phrase-error'; phraseIndex: number; error: SerializedVoiceError }
  | { type: 'transcript-delta'; segment: TranscriptSegment; words?: TranscriptWord[] }
  /** `partIndex`: of a recording in a chat, whose transcript goes to the llm-worker and not to the client. */
  | { type: 'transcript-end'; language: string; durationSeconds: number; partIndex?: number }
  /** All sound was heard at the gateway's loudspeaker, or is in its file. */
  | { type: 'playback-end' }
  /**
   * The stream ended badly or was stopped (`stream_cancelled`). Before the end only where the gateway
   * plays: the text broke off, and what is cut of it is still spoken.
   */
  | { type: 'stream-error'; error: SerializedVoiceError };

export type StreamEventType = StreamEvent['type'];

/** One entry of the log as a reader gets it. */
export interface StreamEntry {
  /** 1, 2, 3 … without holes. */
  seq: number;
  /** The stream's one end: nothing follows. */
  terminal: boolean;
  event: StreamEvent;
  /** Size of the encoded event: what counts against `MAX_LOG_BYTES`. */
  sizeBytes: number;
}
