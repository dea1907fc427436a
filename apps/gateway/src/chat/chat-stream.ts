import { Readable } from 'node:stream';
import type { ChatJob } from '@antiphon/shared/jobs/job-catalog';
import { MAX_JOB_BYTES } from '@antiphon/shared/queue/job-producer';
import type { Context } from 'hono';
import type { GatewayContext, GatewayEnv } from '../gateway-context.ts';
import type { Route } from '../models/worker-directory.ts';
import { resolveAudioAnswers } from '../openai/audio-answers.ts';
import { extractAudioParts, replaceAudioParts } from '../openai/audio-parts.ts';
import type { ChatMessage, ParsedChatRequest } from '../openai/chat-request.ts';
import type { Answer } from '../replies/answer.ts';
import type { OpenedStream } from '../replies/open-stream.ts';
import type { ResponseOptions } from '../replies/stream-response.ts';
import { type ChatRecordings, storeChatRecordings } from './chat-recordings.ts';
import type { Resume } from '../streams/resume-request.ts';
import type { SpeechOpening } from '../speech/speech-plan.ts';
import {
  type StreamRequest,
  answerByStream,
  configuredDeadlines,
} from '../streams/answer-by-stream.ts';

/** Who speaks the answer; of a silent one only what its job is told. */
export interface ChatVoice {
  queueName?: string;
  opening?: SpeechOpening;
  job: NonNullable<ChatJob['audio']>;
}

export interface ChatStreamRequest {
  request: ParsedChatRequest;
  /** What the model is asked: those of the request, and ours. */
  messages: ChatMessage[];
  route: Route;
  /** Whether the model is to stream. */
  stream: boolean;
  voice?: ChatVoice | undefined;
  /** The sound is played here. */
  playback?: boolean;
  /** Its client may come back, for this answer. `heardSeconds`: see `ChatReplyContext`. */
  resume?: Resume | undefined;
  answer?: (heardSeconds: number) => Answer;
  onAdmitted?: StreamRequest['onAdmitted'];
}

/** What a reply is told besides its stream. */
export interface ChatReplyContext {
  opened: OpenedStream;
  response: ResponseOptions;
  /** Length of the recordings in the request that were heard in earlier turns. */
  heardSeconds: number;
}

/**
 * Opens the stream of a chat, has it answered, and closes it. Recordings in the messages are
 * transcribed first, as the children of the chat job; spoken answers are named by their text. Throws
 * what `answerByStream` does and, before anything is opened, what is wrong with recordings and spoken
 * answers: `invalid_value`, `invalid_type`, `missing_required_parameter`, `invalid_file_format`,
 * `request_too_large` (above `MAX_UPLOAD_BYTES`), `server_is_overloaded` (no stt-worker lives),
 * `model_not_found` (no such default one).
 */
export async function answerChatByStream(
  c: Context<GatewayEnv>,
  context: GatewayContext,
  chat: ChatStreamRequest,
  reply: (given: ChatReplyContext) => Promise<void>,
): Promise<Response> {
  const tenantId = c.get('tenantId');
  const { messages, recordings } = await prepareMessages(context, chat, tenantId);
  let blobId: string | undefined;
  const release = async () => {
    if (blobId !== undefined) await context.blobs.delete(blobId);
    await recordings?.delete();
  };
  try {
    const requestJson = chat.request.forwardAs(chat.route.model, messages);
    if (Buffer.byteLength(requestJson) > MAX_JOB_BYTES) {
      ({ blobId } = await context.blobs.put(Readable.from([requestJson])));
    }
    const body = blobId === undefined ? { requestJson } : { requestBlobId: blobId };
    const deadlines = configuredDeadlines(context);
    // A whole answer is one event: only the total bounds it.
    const first = chat.stream ? {} : { firstEventMs: deadlines.totalMs };
    const heardSeconds = recordings?.heardSeconds ?? 0;
    return await answerByStream(
      c,
      context,
      {
        ...openingOf(chat, recordings),
        ...(chat.answer ? { resume: chat.resume, answer: chat.answer(heardSeconds), release } : {}),
        ...(chat.onAdmitted ? { onAdmitted: chat.onAdmitted } : {}),
        deadlines: { ...deadlines, ...first },
        enqueue: (streamId) => {
          const identity = { streamId, tenantId, gatewayId: context.gatewayId };
          const job = { ...jobOf(chat, recordings), ...identity, ...body };
          return enqueueChat(context, { queueName: chat.route.worker.queueName, job }, recordings);
        },
      },
      (opened, response) => reply({ opened, response, heardSeconds }),
    );
  } finally {
    if (!chat.resume?.isKept) await release();
  }
}

type StoredRecordings = ChatRecordings & { queueName: string };

/** The messages as the llm-worker gets them. */
async function prepareMessages(
  context: GatewayContext,
  { messages: sent }: ChatStreamRequest,
  tenantId: string,
): Promise<{ messages: ChatMessage[]; recordings: StoredRecordings | undefined }> {
  const { config, directory, spokenAnswers, transcripts } = context;
  const parts = await extractAudioParts(sent, config.MAX_UPLOAD_BYTES);
  const messages = await resolveAudioAnswers(sent, spokenAnswers, tenantId);
  if (parts.length === 0) return { messages, recordings: undefined };
  const route = await directory.resolve('stt', undefined);
  const stored = await storeChatRecordings(context, { parts, route, tenantId, transcripts });
  return {
    messages: replaceAudioParts(messages, parts, stored.keyOf),
    recordings: { ...stored, queueName: route.worker.queueName },
  };
}

function openingOf(
  { route, voice, playback }: ChatStreamRequest,
  recordings: StoredRecordings | undefined,
): Pick<StreamRequest, 'route' | 'opening'> {
  const recordingCount = recordings?.jobsOf('').length ?? 0;
  return {
    route: {
      queues: {
        llm: route.worker.queueName,
        ...(voice?.queueName === undefined ? {} : { tts: voice.queueName }),
        ...(recordings ? { stt: recordings.queueName } : {}),
      },
      firstStage: recordingCount > 0 ? 'stt' : 'llm',
      recordingCount,
    },
    opening: {
      kind: 'chat',
      model: route.model,
      ...voice?.opening,
      ...(playback ? { playback } : {}),
    },
  };
}

const jobOf = (
  { request, route, stream, voice }: ChatStreamRequest,
  recordings: StoredRecordings | undefined,
) => ({
  ...{ version: 1 as const, model: route.model, stream, choiceCount: request.choiceCount },
  ...(voice ? { audio: voice.job } : {}),
  ...(recordings ? { hasTranscripts: true } : {}),
});

async function enqueueChat(
  { jobs }: GatewayContext,
  { queueName, job }: { queueName: string; job: ChatJob },
  recordings: StoredRecordings | undefined,
): Promise<void> {
  const { streamId } = job;
  const children = recordings?.jobsOf(streamId) ?? [];
  await (children.length > 0
    ? jobs.enqueueAfter({ queueName, jobId: streamId, data: job }, children)
    : jobs.enqueue(queueName, 'chat', job, { jobId: streamId }));
}
