import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { ChatJob } from '@antiphon/shared/jobs/job-catalog';
import type { JobProducer } from '@antiphon/shared/queue/job-producer';
import type { JobContext, JobHandler } from '@antiphon/shared/queue/job-worker';
import type { Logger } from '@antiphon/shared/runtime/logger';
import type { AIService, ChatRequest } from '@antiphon/shared/services/ai-service';
import type { BlobStore } from '@antiphon/shared/storage/blob-store';
import type { TranscriptStore } from '@antiphon/shared/storage/transcript-store';
import type { StreamLog } from '@antiphon/shared/streams/stream-log';
import { readAnswerDeltas } from './answer-delta.ts';
import { type FinishEvent, readRequest, requireFinish } from './chat-request.ts';
import { SpokenAnswer } from './spoken-answer.ts';
import { TextAppender } from './text-appender.ts';
import { createChunkWriter, createCompletionWriter } from './text-writer.ts';
import { insertTranscripts } from './transcript-parts.ts';

export interface ChatHandlerOptions {
  service: AIService;
  /** Where large request bodies lie. */
  blobs: BlobStore;
  /** What was heard of the recordings in a request. */
  transcripts: TranscriptStore;
  log: StreamLog;
  jobs: JobProducer;
  logger: Logger;
}

/**
 * Runs one chat job: engine → text entries → `text-end`, or for a spoken answer engine → phrases.
 * A job that had written something in an earlier run is not answered again: what the client has
 * cannot be continued by another answer.
 */
export function createChatHandler(options: ChatHandlerOptions): JobHandler<'chat'> {
  const { blobs, transcripts } = options;
  return async (context) => {
    const { job, claim } = context;
    if (claim.lastIndex > 0) throw new VoiceError('stream_interrupted');
    const sent = await readRequest(job, blobs);
    const requestJson = job.hasTranscripts
      ? await insertTranscripts(sent, transcripts, job.tenantId)
      : sent;
    const { stream, choiceCount } = job;
    const request = { requestJson, stream, choiceCount };
    await (job.audio
      ? speakAnswer(options, context, { request, audio: job.audio })
      : writeAnswer(options, context, request));
  };
}

async function writeAnswer(
  { service }: ChatHandlerOptions,
  { job, producer, signal }: JobContext<'chat'>,
  request: ChatRequest,
): Promise<void> {
  const { model, streamId } = job;
  const { requestJson } = request;
  const writer = request.stream
    ? createChunkWriter({ streamId, model, requestJson })
    : createCompletionWriter({ streamId, model });
  const appender = new TextAppender(producer, signal);
  let finish: FinishEvent | undefined;
  try {
    for await (const event of service.streamChat(request, signal)) {
      if (event.type === 'finish') finish = event;
      const bytes = writer.write(event);
      if (bytes) await appender.write(bytes);
    }
  } finally {
    await appender.flush(); // what came before an error is the client's
  }
  const { finishReason, usage } = requireFinish(finish);
  await producer.append(
    { type: 'text-end', finishReason, ...(usage ? { usage } : {}) },
    { ends: 'stream', signal },
  );
}

async function speakAnswer(
  { service, log, jobs, logger }: ChatHandlerOptions,
  { job, producer, signal }: JobContext<'chat'>,
  { request, audio }: { request: ChatRequest; audio: NonNullable<ChatJob['audio']> },
): Promise<void> {
  const { streamId } = job;
  const answer = new SpokenAnswer({ streamId, audio, producer, signal, log, jobs, logger });
  let finish: FinishEvent | undefined;
  try {
    for await (const event of service.streamChat(request, signal)) {
      if (event.type === 'finish') finish = event;
      if (event.type === 'text-delta') await answer.push(event.text);
      if (event.type === 'chunk-frames') await pushFrames(answer, event.frames);
    }
  } finally {
    await answer.flush(); // what came before an error is spoken
  }
  const { finishReason, usage } = requireFinish(finish);
  await answer.end(finishReason, usage);
}

async function pushFrames(answer: SpokenAnswer, frames: Uint8Array): Promise<void> {
  for (const { content, shown } of readAnswerDeltas(frames)) {
    await answer.push(content);
    if (shown) await answer.show(shown);
  }
}
