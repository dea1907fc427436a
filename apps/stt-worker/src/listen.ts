import { openRecordedAudio } from '@antiphon/shared/audio/recorded-audio';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import { BATCH_LINE_TOTAL_MS } from '@antiphon/shared/jobs/batch-line-job';
import type {
  STTService,
  TranscriptEvent,
  TranscriptionRequest,
  UploadFormat,
} from '@antiphon/shared/services/stt-service';
import { TranscriptionDeadline } from './transcription-deadline.ts';

/** What jobs and lines of batches say of a transcription. */
export interface Asked {
  format: UploadFormat;
  sizeBytes: number;
  maxAudioSeconds: number;
  model: string;
  operation: TranscriptionRequest['operation'];
  wordTimes: boolean;
  language?: string | undefined;
  prompt?: string | undefined;
  temperature?: number | undefined;
}

export interface ListenOptions {
  /** The recording, on this machine. */
  path: string;
  signal: AbortSignal;
  /** Nobody waits for it. */
  background?: boolean;
}

export type SegmentEvent = Extract<TranscriptEvent, { type: 'segment' }>;
export type FinishEvent = Extract<TranscriptEvent, { type: 'finish' }>;

/**
 * Runs the engine over one recording; hands on each segment as it comes. Throws what the engine
 * throws, and `stream_timeout` after max(120 s, 3 x audio), in the background max(600 s, 3 x audio).
 */
export async function listen(
  service: STTService,
  asked: Asked,
  { path, signal, background = false }: ListenOptions,
  take: (event: SegmentEvent) => Promise<void> | void,
): Promise<FinishEvent> {
  const deadline = new TranscriptionDeadline(background ? BATCH_LINE_TOTAL_MS : undefined);
  const running = AbortSignal.any([signal, deadline.signal]);
  let finish: FinishEvent | undefined;
  try {
    const { format, sizeBytes, maxAudioSeconds: maxSeconds } = asked;
    const recording = openRecordedAudio({ path, format, sizeBytes, maxSeconds, background });
    const request = {
      ...requestOf(asked),
      audio: deadline.watch(recording),
      ...(background ? { background } : {}),
    };
    for await (const event of service.transcribe(request, running)) {
      if (event.type === 'finish') finish = event;
      else await take(event);
    }
  } finally {
    deadline.clear();
  }
  if (!finish) throw new VoiceError('engine_failed', { cause: 'no finish from the engine' });
  return finish;
}

function requestOf(asked: Asked): Omit<TranscriptionRequest, 'audio'> {
  const { model, operation, wordTimes, language, prompt, temperature } = asked;
  return {
    model,
    operation,
    wordTimes,
    ...(language === undefined ? {} : { language }),
    ...(prompt === undefined ? {} : { prompt }),
    ...(temperature === undefined ? {} : { temperature }),
  };
}

/** What an upload calls its `file` has another name elsewhere. */
export function renameFile(error: unknown, param: string): unknown {
  if (!(error instanceof VoiceError) || error.param !== 'file') return error;
  const { code, message, cause } = error;
  return new VoiceError(code, { message, param, cause });
}
