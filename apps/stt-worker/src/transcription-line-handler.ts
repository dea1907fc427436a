import type { LineContext, LineHandler } from '@antiphon/shared/batches/line-handler';
import type { LineOutcome } from '@antiphon/shared/batches/batch-store';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type {
  STTService,
  TranscriptSegment,
  TranscriptWord,
} from '@antiphon/shared/services/stt-service';
import type { BlobStore } from '@antiphon/shared/storage/blob-store';
import { listen, renameFile } from './listen.ts';

export interface TranscriptionLineOptions {
  service: STTService;
  /** Where recordings lie. */
  fileBlobs: BlobStore;
}

/** Transcribes the recording of one line of a batch. Its time counts from its turn. */
export function createTranscriptionLineHandler(
  options: TranscriptionLineOptions,
): LineHandler<'transcription'> {
  return async (context) => {
    const { fileId, blobId = fileId } = context.job.work;
    const recording = await options.fileBlobs.local(blobId);
    // Its file was deleted, or has expired, since the line was queued.
    if (!recording) {
      const message = `No such File object: ${fileId}`;
      throw new VoiceError('file_not_found', { message, param: 'file_id' });
    }
    try {
      return await transcribeLine(options.service, context, recording.path);
    } catch (error) {
      throw renameFile(error, 'file_id');
    } finally {
      await recording.release();
    }
  };
}

async function transcribeLine(
  service: STTService,
  { job, signal, takeTurn }: LineContext<'transcription'>,
  path: string,
): Promise<LineOutcome> {
  const segments: TranscriptSegment[] = [];
  const words: TranscriptWord[] = [];
  const endTurn = await takeTurn();
  try {
    const asked = { ...job.work, model: job.model };
    const { language, durationSeconds } = await listen(
      service,
      asked,
      { path, signal, background: true },
      (event) => {
        segments.push(event.segment);
        if (event.words) words.push(...event.words);
      },
    );
    return { result: { type: 'transcript', segments, words, language, durationSeconds } };
  } finally {
    endTurn();
  }
}
