import { JOB_CATALOG } from '@antiphon/shared/jobs/job-catalog';
import type { Handler } from 'hono';
import type { GatewayContext, GatewayEnv } from '../gateway-context.ts';
import { isJsonType } from '../openai/json-body.ts';
import { readJsonUpload } from '../openai/json-upload.ts';
import { type TranscriptionForm, parseTranscriptionForm } from '../openai/transcription-form.ts';
import { type Upload, readUpload } from '../openai/upload.ts';
import { replyTranscription, replyTranscriptionEvents } from '../replies/transcription-reply.ts';
import { type Resume, leasedContext, readResume } from './resume-request.ts';
import { answerByStream } from './stream-route.ts';

/** `POST /v1/audio/transcriptions` and, into English, `/v1/audio/translations`. */
export function audioTranscriptions(
  gateway: GatewayContext,
  operation: 'transcribe' | 'translate',
): Handler<GatewayEnv> {
  const { config, directory, jobs, blobs } = gateway;
  return async (c) => {
    const isJson = isJsonType(c.req.header('content-type') ?? '');
    const upload = isJson
      ? await readJsonUpload(c, blobs, config.MAX_UPLOAD_BYTES)
      : await readUpload(c.env.incoming, blobs, config.MAX_UPLOAD_BYTES);
    const release = () => blobs.delete(upload.blobId);
    let resume: Resume | undefined;
    try {
      resume = readResume(c);
      const context = leasedContext(gateway, resume);
      const { gatewayId } = context;
      const form = parseTranscriptionForm(upload.fields);
      const { model, worker } = await directory.resolve('stt', form.model);
      const queueMs = config.QUEUE_TIMEOUT_MS;
      const { stream, response_format: format, timestamp_granularities: granularities } = form;
      const answer = { stream, format, granularities, operation };
      return await answerByStream(
        c,
        context,
        {
          ...{ resume, release, answer: { type: 'transcription', ...answer } },
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
            const job = { ...identity, model, operation, ...jobFields(form, upload) };
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
    } finally {
      if (!resume?.isKept) await release();
    }
  };
}

function jobFields(form: TranscriptionForm, { blobId, format, sizeBytes }: Upload) {
  const { language, prompt, temperature } = form;
  return {
    blobId,
    format,
    sizeBytes,
    wordTimes: form.timestamp_granularities.includes('word'),
    ...(language === undefined ? {} : { language }),
    ...(prompt === undefined || prompt === '' ? {} : { prompt }),
    ...(temperature === undefined ? {} : { temperature }),
  };
}
