import { openRecordedAudio } from '@antiphon/shared/audio/recorded-audio';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { TranscriptionJob } from '@antiphon/shared/jobs/job-catalog';
import type { JobHandler } from '@antiphon/shared/queue/job-worker';
import type {
  RecordedAudio,
  STTService,
  TranscriptEvent,
  TranscriptionRequest,
} from '@antiphon/shared/services/stt-service';
import type { BlobStore } from '@antiphon/shared/storage/blob-store';
import { TranscriptionDeadline } from './transcription-deadline.ts';

export interface TranscriptionHandlerOptions {
  service: STTService;
  blobs: BlobStore;
}

/** Runs one transcription: upload → engine → segments → `transcript-end`. */
export function createTranscriptionHandler({
  service,
  blobs,
}: TranscriptionHandlerOptions): JobHandler<'transcription'> {
  return async ({ job, claim, producer, signal }) => {
    if (claim.lastIndex > 0) throw new VoiceError('stream_interrupted');
    const deadline = new TranscriptionDeadline();
    const audio = deadline.watch(await openUpload(job, blobs));
    const running = AbortSignal.any([signal, deadline.signal]);
    let finish: Extract<TranscriptEvent, { type: 'finish' }> | undefined;
    try {
      for await (const event of service.transcribe(requestOf(job, audio), running)) {
        if (event.type === 'finish') {
          finish = event;
          continue;
        }
        const { segment, words } = event;
        await producer.append(
          { type: 'transcript-delta', segment, ...(words ? { words } : {}) },
          { signal },
        );
      }
    } finally {
      deadline.clear();
    }
    if (!finish) throw new VoiceError('engine_failed', { cause: 'no finish from the engine' });
    const { language, durationSeconds } = finish;
    await producer.append(
      { type: 'transcript-end', language, durationSeconds },
      { ends: 'stream', signal },
    );
  };
}

async function openUpload(job: TranscriptionJob, blobs: BlobStore): Promise<RecordedAudio> {
  const path = await blobs.path(job.blobId);
  if (path === undefined) {
    throw new VoiceError('internal_error', {
      cause: `the upload of ${job.streamId} is not in this worker's DATA_DIR`,
    });
  }
  const { format, sizeBytes, maxAudioSeconds: maxSeconds } = job;
  return openRecordedAudio({ path, format, sizeBytes, maxSeconds });
}

function requestOf(job: TranscriptionJob, audio: RecordedAudio): TranscriptionRequest {
  const { model, operation, wordTimes, language, prompt, temperature } = job;
  return {
    audio,
    model,
    operation,
    wordTimes,
    ...(language === undefined ? {} : { language }),
    ...(prompt === undefined ? {} : { prompt }),
    ...(temperature === undefined ? {} : { temperature }),
  };
}
