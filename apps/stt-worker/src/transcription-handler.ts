import { openRecordedAudio } from '@antiphon/shared/audio/recorded-audio';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { TranscriptionJob } from '@antiphon/shared/jobs/job-catalog';
import type { JobContext, JobHandler } from '@antiphon/shared/queue/job-worker';
import type {
  RecordedAudio,
  STTService,
  TranscriptEvent,
  TranscriptionRequest,
} from '@antiphon/shared/services/stt-service';
import type { BlobStore, LocalBlob } from '@antiphon/shared/storage/blob-store';
import type { TranscriptStore } from '@antiphon/shared/storage/transcript-store';
import { TranscriptionDeadline } from './transcription-deadline.ts';

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
    const { language, durationSeconds } = await listen(options, context, async (event) => {
      const { segment, words } = event;
      if (job.chatPart) return void texts.push(segment.text);
      await producer.append(
        { type: 'transcript-delta', segment, ...(words ? { words } : {}) },
        { signal },
      );
    }).catch((error: unknown) => {
      throw faultOf(job, error);
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

/** What an upload calls its `file` is a part of a message in a chat. */
function faultOf({ chatPart }: TranscriptionJob, error: unknown): unknown {
  if (!chatPart?.param || !(error instanceof VoiceError) || error.param !== 'file') return error;
  const { code, message, cause } = error;
  return new VoiceError(code, { message, param: chatPart.param, cause });
}

type SegmentEvent = Extract<TranscriptEvent, { type: 'segment' }>;
type FinishEvent = Extract<TranscriptEvent, { type: 'finish' }>;

/** Hands on each segment as it comes. Throws what the engine throws, and when the deadline is over. */
async function listen(
  { service, blobs }: TranscriptionHandlerOptions,
  { job, signal }: JobContext<'transcription'>,
  take: (event: SegmentEvent) => Promise<void>,
): Promise<FinishEvent> {
  const upload = await findUpload(job, blobs);
  const deadline = new TranscriptionDeadline();
  const running = AbortSignal.any([signal, deadline.signal]);
  let finish: FinishEvent | undefined;
  try {
    const audio = deadline.watch(openUpload(job, upload));
    for await (const event of service.transcribe(requestOf(job, audio), running)) {
      if (event.type === 'finish') finish = event;
      else await take(event);
    }
  } finally {
    deadline.clear();
    await upload.release();
  }
  if (!finish) throw new VoiceError('engine_failed', { cause: 'no finish from the engine' });
  return finish;
}

async function findUpload(job: TranscriptionJob, blobs: BlobStore): Promise<LocalBlob> {
  const upload = await blobs.local(job.blobId);
  if (upload) return upload;
  throw new VoiceError('internal_error', {
    cause: `the upload of ${job.streamId} is not in this worker's blob store`,
  });
}

function openUpload(job: TranscriptionJob, { path }: LocalBlob): RecordedAudio {
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
