import { buffer } from 'node:stream/consumers';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { ChatJob } from '@antiphon/shared/jobs/job-catalog';
import type { JobHandler } from '@antiphon/shared/queue/job-worker';
import type { AIService, ChatEvent } from '@antiphon/shared/services/ai-service';
import type { BlobStore } from '@antiphon/shared/storage/blob-store';
import { TextAppender } from './text-appender.ts';
import { createChunkWriter, createCompletionWriter } from './text-writer.ts';

export interface ChatHandlerOptions {
  service: AIService;
  /** Where large request bodies lie. */
  blobs: BlobStore;
}

/**
 * Runs one chat job: engine → text entries → `text-end`. A job that had written something in an
 * earlier run is not answered again: what the client has cannot be continued by another answer.
 */
export function createChatHandler({ service, blobs }: ChatHandlerOptions): JobHandler<'chat'> {
  return async ({ job, claim, producer, signal }) => {
    if (claim.lastIndex > 0) throw new VoiceError('stream_interrupted');
    const { stream, choiceCount, model, streamId } = job;
    const requestJson = await readRequest(job, blobs);
    const writer = stream
      ? createChunkWriter({ streamId, model, requestJson })
      : createCompletionWriter({ streamId, model });
    const appender = new TextAppender(producer, signal);
    let finish: Extract<ChatEvent, { type: 'finish' }> | undefined;
    try {
      for await (const event of service.streamChat({ requestJson, stream, choiceCount }, signal)) {
        if (event.type === 'finish') finish = event;
        const bytes = writer.write(event);
        if (bytes) await appender.write(bytes);
      }
    } finally {
      await appender.flush(); // what came before an error is the client's
    }
    if (!finish) {
      throw new VoiceError('upstream_protocol', {
        message: 'The answer ended without a finish reason.',
      });
    }
    const { finishReason, usage } = finish;
    await producer.append(
      { type: 'text-end', finishReason, ...(usage ? { usage } : {}) },
      { ends: 'stream', signal },
    );
  };
}

async function readRequest(job: ChatJob, blobs: BlobStore): Promise<string> {
  if (job.requestJson !== undefined) return job.requestJson;
  const blob = job.requestBlobId === undefined ? undefined : await blobs.get(job.requestBlobId);
  if (!blob) {
    throw new VoiceError('internal_error', { cause: `request body of ${job.streamId} is missing` });
  }
  return (await buffer(blob)).toString('utf8');
}
