import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { UPLOAD_MAGIC_BYTES, detectUploadFormat } from '@antiphon/shared/audio/upload-format';
import { lineBodyBlobId } from '@antiphon/shared/batches/batch-key';
import type { BatchEndpoint, BatchRecord, LineRoute } from '@antiphon/shared/batches/batch-record';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type {
  BatchLineJob,
  ChatLine,
  SpeechLine,
  TranscriptionLine,
} from '@antiphon/shared/jobs/batch-line-job';
import type { Stage } from '@antiphon/shared/jobs/job-catalog';
import { blobIdOf } from '@antiphon/shared/files/file-record';
import { MAX_JOB_BYTES } from '@antiphon/shared/queue/job-producer';
import type { UploadFormat } from '@antiphon/shared/services/stt-service';
import type { BlobStore } from '@antiphon/shared/storage/blob-store';
import { throwStoreFault } from '@antiphon/shared/storage/store-fault';
import type { GatewayContext } from '../gateway-context.ts';
import { resolveAudioAnswers } from '../openai/audio-answers.ts';
import { findAudioParts } from '../openai/audio-parts.ts';
import { parseChatRequest } from '../openai/chat-request.ts';
import type { JsonBody } from '../openai/json-body.ts';
import { formFields } from '../openai/json-upload.ts';
import { chooseVoice, parseSpeechRequest } from '../openai/speech-request.ts';
import { heardHow, parseTranscriptionForm } from '../openai/transcription-form.ts';
import { fileNotFound } from '../files/find-file.ts';
import { takeBackground } from '../streams/resume-request.ts';
import { cutPhrases, spokenHow } from '../speech/speech-plan.ts';

/** What the plan of a line is made from. */
export interface LineRequest {
  batch: BatchRecord;
  /** From 0. */
  line: number;
  body: JsonBody;
  route: LineRoute;
}

export const STAGE_OF: Record<BatchEndpoint, Stage> = {
  '/v1/audio/speech': 'tts',
  '/v1/audio/transcriptions': 'stt',
  '/v1/audio/translations': 'stt',
  '/v1/chat/completions': 'llm',
};

/**
 * What a worker is to do for a line: the body is checked by the rules of its endpoint. Throws what
 * the endpoint would answer, and what says that the queue or the store is away.
 */
export async function planLine(
  context: GatewayContext,
  request: LineRequest,
): Promise<BatchLineJob> {
  const { batch, line, route } = request;
  return {
    ...{ version: 1, batchId: batch.id, line, tenantId: batch.tenantId, model: route.model },
    ...(batch.requestId === undefined ? {} : { requestId: batch.requestId }),
    work: await planWork(context, request),
  };
}

async function planWork(
  context: GatewayContext,
  request: LineRequest,
): Promise<BatchLineJob['work']> {
  switch (request.batch.endpoint) {
    case '/v1/audio/speech':
      return planSpeechLine(context, request);
    case '/v1/audio/transcriptions':
      return planTranscriptionLine(context, request, 'transcribe');
    case '/v1/audio/translations':
      return planTranscriptionLine(context, request, 'translate');
    case '/v1/chat/completions':
      return planChatLine(context, request);
  }
}

function planSpeechLine(
  { config }: GatewayContext,
  { batch, body: sent, route }: LineRequest,
): SpeechLine {
  const { body } = takeBackground(sent);
  const request = parseSpeechRequest(body, config.MAX_INPUT_CHARACTERS);
  if (request.stream_format === 'sse') {
    throw notInBatch('stream_format', "'stream_format' can only be 'audio' in a batch.");
  }
  const phrases = cutPhrases(request, {
    markdown: config.STRIP_MARKDOWN,
    maxCharacters: route.maxPhraseCharacters,
    isAwaited: false,
  });
  return {
    type: 'speech',
    phrases,
    voice: chooseVoice(route, request.voice),
    ...spokenHow(request),
    format: request.response_format ?? 'mp3',
    // Not before the output that names it, whenever that is written; that batch's end makes it sooner.
    expiresAtSeconds: batch.expiresAt + batch.outputLifeSeconds,
  };
}

async function planTranscriptionLine(
  { config, files, fileBlobs }: GatewayContext,
  { batch, body }: LineRequest,
  operation: TranscriptionLine['operation'],
): Promise<TranscriptionLine> {
  const { file_id: fileId, ...fields } = body.value;
  const form = parseTranscriptionForm(formFields(fields));
  if (form.stream) throw notInBatch('stream', "'stream' can only be false in a batch.");
  if (typeof fileId !== 'string' || fileId === '') throw fileIdFault(fields, fileId);
  const file = await files.get(batch.tenantId, fileId);
  const start = file && (await readStart(fileBlobs, blobIdOf(file)).catch(throwStoreFault));
  if (!file || !start) throw fileNotFound(fileId, 'file_id');
  return {
    type: 'transcription',
    fileId,
    ...(file.blobId === undefined ? {} : { blobId: file.blobId }),
    format: formatOf(start),
    sizeBytes: file.bytes,
    operation,
    ...heardHow(form),
    maxAudioSeconds: config.MAX_AUDIO_SECONDS,
  };
}

async function readStart(blobs: BlobStore, fileId: string): Promise<Buffer | undefined> {
  const start = await blobs.get(fileId, { start: 0, end: UPLOAD_MAGIC_BYTES - 1 });
  return start && buffer(start);
}

function formatOf(start: Buffer): UploadFormat {
  const format = detectUploadFormat(start);
  if (!format) throw new VoiceError('invalid_file_format', { param: 'file_id' });
  return format;
}

/** Other servers take an address there: this one never fetches one. */
function fileIdFault(fields: Record<string, unknown>, given: unknown): VoiceError {
  if (given !== undefined && given !== null && given !== '') {
    return new VoiceError('invalid_type', {
      param: 'file_id',
      message: "Invalid type for 'file_id': expected the id of an uploaded file.",
    });
  }
  const other = ['url', 'file', 'input_audio'].find((name) => fields[name] !== undefined);
  const why = other === undefined ? '' : ` '${other}' is not taken in a batch.`;
  return new VoiceError('missing_required_parameter', {
    param: 'file_id',
    message: `Missing required parameter: 'file_id'.${why} Upload the recording to /v1/files and name it by its id.`,
  });
}

async function planChatLine(
  { fileBlobs, spokenAnswers }: GatewayContext,
  { batch, line, body: sent, route }: LineRequest,
): Promise<ChatLine> {
  const { body } = takeBackground(sent);
  const request = parseChatRequest(body);
  if (request.stream) throw notInBatch('stream', "'stream' can only be false in a batch.");
  if (request.audio) {
    throw notInBatch(
      'modalities',
      "'modalities' can only be ['text'] in a batch. Have the answers spoken by a batch for /v1/audio/speech.",
    );
  }
  const [recording] = findAudioParts(request.messages);
  if (recording) {
    const advice = 'Have it written down by a batch for /v1/audio/transcriptions.';
    throw notInBatch(recording.param, `Recordings in messages are not taken in a batch. ${advice}`);
  }
  const messages = await resolveAudioAnswers(request.messages, spokenAnswers, batch.tenantId);
  const requestJson = request.forwardAs(route.model, messages);
  const { choiceCount } = request;
  if (Buffer.byteLength(requestJson) <= MAX_JOB_BYTES) {
    return { type: 'chat', choiceCount, requestJson };
  }
  const requestBlobId = lineBodyBlobId(batch.id, line);
  const bytes = Readable.from([Buffer.from(requestJson)]);
  await fileBlobs.put(bytes, requestBlobId).catch(throwStoreFault);
  return { type: 'chat', choiceCount, requestBlobId };
}

const notInBatch = (param: string, message: string): VoiceError =>
  new VoiceError('unsupported_value', { param, message });
