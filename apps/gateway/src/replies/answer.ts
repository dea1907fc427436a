import type { AudioEncoder } from '@antiphon/shared/audio/audio-encoder';
import { AUDIO_FORMATS } from '@antiphon/shared/audio/audio-format';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import { TRANSCRIPTION_OPERATIONS } from '@antiphon/shared/services/stt-service';
import { z } from 'zod';
import type { GatewayContext } from '../gateway-context.ts';
import { TIME_GRANULARITIES, TRANSCRIPT_FORMATS } from '../openai/transcript-format.ts';
import { replyChatCompletion, replyChatEvent, replyChatStream } from './chat-reply.ts';
import type { OpenedStream } from './open-stream.ts';
import { replySpeech, replySpeechEvents } from './speech-reply.ts';
import { replySpokenChat, replySpokenChatStream } from './spoken-chat-reply.ts';
import type { ResponseOptions } from './stream-response.ts';
import { replyTranscription, replyTranscriptionEvents } from './transcription-reply.ts';
import { withEncoder } from './with-encoder.ts';

const format = z.enum(AUDIO_FORMATS);

/** What a reply needs to know besides its stream's log: with both, any gateway writes the same answer. */
export const answerSchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('chat'), stream: z.boolean() }),
  z.object({
    type: z.literal('spoken-chat'),
    stream: z.boolean(),
    model: z.string(),
    format,
    includeUsage: z.boolean(),
    heardSeconds: z.number(),
    createdSeconds: z.number(),
  }),
  z.object({
    type: z.literal('speech'),
    stream: z.boolean(),
    format,
    phraseCount: z.number(),
    inputCharacters: z.number(),
  }),
  z.object({
    type: z.literal('transcription'),
    stream: z.boolean(),
    format: z.enum(TRANSCRIPT_FORMATS),
    operation: z.enum(TRANSCRIPTION_OPERATIONS),
    granularities: z.array(z.enum(TIME_GRANULARITIES)),
  }),
]);

export type Answer = z.output<typeof answerSchema>;

/** A stream, who gets it, and in whose name it was asked for. */
export interface AnswerTarget {
  tenantId: string;
  opened: OpenedStream;
  response: ResponseOptions;
}

/** Answers as the request asked that opened the stream. */
export async function replyAnswer(
  context: GatewayContext,
  target: AnswerTarget,
  answer: Answer,
): Promise<void> {
  const { opened, response } = target;
  switch (answer.type) {
    case 'chat': {
      const reply = answer.stream ? replyChatStream : replyChatCompletion;
      return reply(context, opened, response);
    }
    case 'transcription':
      return answer.stream
        ? replyTranscriptionEvents(context, opened, response)
        : replyTranscription(opened, response, answer);
    default:
      return withEncoder(answer.format, async (start) => {
        await replySound(context, target, { ...answer, encoder: await start() });
      });
  }
}

type SoundAnswer = Extract<Answer, { type: 'speech' | 'spoken-chat' }> & { encoder: AudioEncoder };

async function replySound(
  context: GatewayContext,
  { tenantId, opened, response }: AnswerTarget,
  answer: SoundAnswer,
): Promise<void> {
  if (answer.type === 'speech') {
    const reply = answer.stream ? replySpeechEvents : replySpeech;
    return reply(context, opened, response, answer);
  }
  const reply = answer.stream ? replySpokenChatStream : replySpokenChat;
  return reply(context, opened, response, { ...answer, tenantId });
}

/**
 * The answer as server-sent events, whatever shape was asked for at first. Throws
 * `stream_not_resumable` for aac, whose pieces are other ones each time.
 */
export async function replyAsEvents(
  context: GatewayContext,
  target: AnswerTarget,
  answer: Answer,
): Promise<void> {
  if (answer.type === 'chat' && !answer.stream) {
    return replyChatEvent(context, target.opened, target.response);
  }
  refuseAac(answer);
  return replyAnswer(context, target, { ...answer, stream: true });
}

function refuseAac(answer: Answer): void {
  if (answer.type === 'transcription' || answer.type === 'chat' || answer.format !== 'aac') return;
  throw new VoiceError('stream_not_resumable', {
    message:
      'aac cannot be made again piece by piece: ask for the sound in another format, /v1/streams/{id}/audio?format=mp3.',
  });
}
