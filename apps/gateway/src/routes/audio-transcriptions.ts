import { JOB_CATALOG } from '@antiphon/shared/jobs/job-catalog';
import type { TranscriptionOperation } from '@antiphon/shared/services/stt-service';
import type { Context, Handler } from 'hono';
import type { GatewayContext, GatewayEnv } from '../gateway-context.ts';
import { answerOnce } from '../idempotency/answer-once.ts';
import { isJsonType } from '../openai/json-body.ts';
import { readJsonUpload } from '../openai/json-upload.ts';
import {
  asksForBackground,
  heardHow,
  parseTranscriptionForm,
} from '../openai/transcription-form.ts';
import { type Upload, readUpload } from '../openai/upload.ts';
import { replyTranscription, replyTranscriptionEvents } from '../replies/transcription-reply.ts';
import { type Resume, leasedContext, readResume } from '../streams/resume-request.ts';
import { answerByStream } from '../streams/answer-by-stream.ts';

/** `POST /v1/audio/transcriptions` and, into English, `/v1/audio/translations`. */
export function audioTranscriptions(
  gateway: GatewayContext,
  operation: TranscriptionOperation,
): Handler<GatewayEnv> {
  const { config, blobs } = gateway;
  return async (c) => {
    const isJson = isJsonType(c.req.header('content-type') ?? '');
    const upload = isJson
      ? await readJsonUpload(c, blobs, config.MAX_UPLOAD_BYTES)
      : await readUpload(c.env.incoming, blobs, config.MAX_UPLOAD_BYTES);
    let resume: Resume | undefined;
    try {
      const background = asksForBackground(upload.fields);
      resume = readResume(c, { background, content: contentOf(upload) });
      const context = leasedContext(gateway, resume);
      const request = { operation, upload, resume };
      return await answerOnce(c, context, resume, () => transcribe(c, context, request));
    } finally {
      if (!resume?.isKept) await blobs.delete(upload.blobId);
    }
  };
}

/** What was sent, whatever its boundary was and in whatever order its fields came. */
const contentOf = ({ fields, sha256 }: Upload): string =>
  JSON.stringify([[...fields].toSorted(([one], [other]) => (one < other ? -1 : 1)), sha256]);

interface TranscriptionRequest {
  operation: TranscriptionOperation;
  upload: Upload;
  resume: Resume | undefined;
}

async function transcribe(
  c: Context<GatewayEnv>,
  context: GatewayContext,
  { operation, upload, resume }: TranscriptionRequest,
): Promise<Response> {
  const { config, directory, jobs, blobs, gatewayId } = context;
  const form = parseTranscriptionForm(upload.fields);
  const { model, worker } = await directory.resolve('stt', form.model);
  const queueMs = config.QUEUE_TIMEOUT_MS;
  const { stream, response_format: format, timestamp_granularities: granularities } = form;
  const answer = { stream, format, granularities, operation };
  return await answerByStream(
    c,
    context,
    {
      ...{ resume, answer: { type: 'transcription', ...answer } },
      release: () => blobs.delete(upload.blobId),
      route: { queues: { stt: worker.queueName }, firstStage: 'stt' },
      deadlines: { ...JOB_CATALOG.transcription.deadlines, queueMs },
      opening: { kind: 'transcription', model },
      enqueue: (streamId) => {
        const identity = {
          version: 1 as const,
          streamId,
          tenantId: c.get('tenantId'),
          gatewayId,
        };
        const { blobId, format, sizeBytes } = upload;
        const recording = { blobId, format, sizeBytes };
        const job = { ...identity, model, operation, ...recording, ...heardHow(form) };
        const maxAudioSeconds = config.MAX_AUDIO_SECONDS;
        return jobs.enqueue(
          worker.queueName,
          'transcription',
          { ...job, maxAudioSeconds },
          { jobId: streamId },
        );
      },
    },
    (opened, response) =>
      stream
        ? replyTranscriptionEvents(context, opened, response)
        : replyTranscription(opened, response, answer),
  );
}
