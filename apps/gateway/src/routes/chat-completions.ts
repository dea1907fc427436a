import { Readable } from 'node:stream';
import { MAX_JOB_BYTES } from '@antiphon/shared/queue/job-producer';
import type { Handler } from 'hono';
import type { GatewayContext, GatewayEnv } from '../gateway-context.ts';
import { parseChatRequest } from '../openai/chat-request.ts';
import { readJsonBody } from '../openai/json-body.ts';
import { replyChatCompletion, replyChatStream } from '../replies/chat-reply.ts';
import { answerByStream, configuredDeadlines } from './stream-route.ts';

/** `POST /v1/chat/completions`. */
export function chatCompletions(context: GatewayContext): Handler<GatewayEnv> {
  const { config, directory, jobs, blobs, gatewayId } = context;
  return async (c) => {
    const request = parseChatRequest(await readJsonBody(c, config.MAX_UPLOAD_BYTES));
    const { stream, choiceCount } = request;
    const { model, worker } = await directory.resolve('llm', request.model);
    const requestJson = request.forwardAs(model);
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
          queueName: worker.queueName,
          deadlines: { ...deadlines, ...first },
          opening: { kind: 'chat', model },
          enqueue: (streamId) => {
            const tenantId = c.get('tenantId');
            const identity = { version: 1 as const, streamId, tenantId, gatewayId, model };
            const job = { ...identity, stream, choiceCount, ...body };
            return jobs.enqueue(worker.queueName, 'chat', job, { jobId: streamId });
          },
        },
        (opened, response) =>
          (stream ? replyChatStream : replyChatCompletion)(context, opened, response),
      );
    } finally {
      if (blobId !== undefined) await blobs.delete(blobId);
    }
  };
}
