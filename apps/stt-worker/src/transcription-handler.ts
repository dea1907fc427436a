import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { TranscriptionJob } from '@antiphon/shared/jobs/job-catalog';
import type { JobContext, JobHandler } from '@antiphon/shared/queue/job-worker';
import type { STTService } from '@antiphon/shared/services/stt-service';
import type { BlobStore, LocalBlob } from '@antiphon/shared/storage/blob-store';
import type { TranscriptStore } from '@antiphon/shared/storage/transcript-store';
import { type FinishEvent, listen, renameFile, type SegmentEvent } from './listen.ts';

export interface TranscriptionHandlerOptions {
  service: STTService;
  blobs: BlobStore;
  /** Where what was heard in chats is kept. */
  transcripts: TranscriptStore;
}

/**
 * Runs one transcription: upload → engine → segments → `transcript-end`. A recording in a chat is
 * for the llm-worker, and its stream gets nothing of it but that end: until then, a worker that
 * dies is followed by another one unseen.
 */
export function createTranscriptionHandler(
  options: TranscriptionHandlerOptions,
): JobHandler<'transcription'> {
  return async (context) => {
    const { job, claim, producer, signal } = context;
    if (claim.lastIndex > 0) throw new VoiceError('stream_interrupted');
    const texts: string[] = [];
    const { language, durationSeconds } = await listenTo(options, context, async (event) => {
      const { segment, words } = event;
      if (job.chatPart) return void texts.push(segment.text);
      await producer.append(
        { type: 'transcript-delta', segment, ...(words ? { words } : {}) },
        { signal },
      );
    }).catch((error: unknown) => {
      throw job.chatPart?.param ? renameFile(error, job.chatPart.param) : error;
    });
    if (job.chatPart) {
      // First: the end lets the chat job run, which reads it.
      const { transcriptKey, keepMs } = job.chatPart;
      const transcript = { text: texts.join(' ').trim(), durationSeconds };
      await options.transcripts.keep(transcriptKey, transcript, keepMs);
    }
    await producer.append(
      { type: 'transcript-end', language, durationSeconds, ...partOf(job) },
      { ends: job.chatPart ? 'producer' : 'stream', signal },
    );
  };
}

const partOf = ({ chatPart }: TranscriptionJob) =>
  chatPart ? { partIndex: chatPart.partIndex } : {};

async function listenTo(
  { service, blobs }: TranscriptionHandlerOptions,
  { job, signal }: JobContext<'transcription'>,
  take: (event: SegmentEvent) => Promise<void>,
): Promise<FinishEvent> {
  const upload = await findUpload(job, blobs);
  try {
    return await listen(service, job, { path: upload.path, signal }, take);
  } finally {
    await upload.release();
  }
}

async function findUpload(job: TranscriptionJob, blobs: BlobStore): Promise<LocalBlob> {
  const upload = await blobs.local(job.blobId);
  if (upload) return upload;
  throw new VoiceError('internal_error', {
    cause: `the upload of ${job.streamId} is not in this worker's blob store`,
  });
}
