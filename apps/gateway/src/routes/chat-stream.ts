import { Readable } from 'node:stream';
import type { ChatJob } from '@antiphon/shared/jobs/job-catalog';
import { MAX_JOB_BYTES } from '@antiphon/shared/queue/job-producer';
import type { KnownWorker } from '@antiphon/shared/queue/worker-registry';
import type { Context } from 'hono';
import type { GatewayContext, GatewayEnv } from '../gateway-context.ts';
import type { OpenedStream } from '../replies/open-stream.ts';
import type { ResponseOptions } from '../replies/stream-response.ts';
import type { SpeechOpening } from './speech-plan.ts';
import { answerByStream, configuredDeadlines } from './stream-route.ts';

/** Who speaks the answer. */
export interface ChatVoice {
  queueName: string;
  opening: SpeechOpening;
  job: NonNullable<ChatJob['audio']>;
}

export interface ChatStreamRequest {
  model: string;
  worker: KnownWorker;
  requestJson: string;
  /** What the model is asked for. */
  stream: boolean;
  choiceCount: number;
  voice?: ChatVoice | undefined;
}

/** Opens the stream of a chat, has it answered, and closes it. */
export async function answerChatByStream(
  c: Context<GatewayEnv>,
  context: GatewayContext,
  request: ChatStreamRequest,
  reply: (opened: OpenedStream, response: ResponseOptions) => Promise<void>,
): Promise<Response> {
  const { jobs, blobs, gatewayId } = context;
  const { model, worker, requestJson, stream, choiceCount, voice } = request;
  const { queueName } = worker;
  const large = Buffer.byteLength(requestJson) > MAX_JOB_BYTES;
  const blobId = large ? (await blobs.put(Readable.from([requestJson]))).blobId : undefined;
  const body = blobId === undefined ? { requestJson } : { requestBlobId: blobId };
  const deadlines = configuredDeadlines(context);
  // A whole answer is one event: only the total bounds it.
  const first = stream ? {} : { firstEventMs: deadlines.totalMs };
  try {
    return await answerByStream(
      c,
      context,
      {
        route: {
          queues: { llm: queueName, ...(voice ? { tts: voice.queueName } : {}) },
          firstStage: 'llm',
        },
        deadlines: { ...deadlines, ...first },
        opening: { kind: 'chat', model, ...voice?.opening },
        enqueue: (streamId) => {
          const tenantId = c.get('tenantId');
          const identity = { version: 1 as const, streamId, tenantId, gatewayId, model };
          const audio = voice ? { audio: voice.job } : {};
          const job = { ...identity, stream, choiceCount, ...body, ...audio };
          return jobs.enqueue(queueName, 'chat', job, { jobId: streamId });
        },
      },
      reply,
    );
  } finally {
    if (blobId !== undefined) await blobs.delete(blobId);
  }
}
