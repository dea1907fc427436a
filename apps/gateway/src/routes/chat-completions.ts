import { createAudioEncoder } from '@antiphon/shared/audio/create-audio-encoder';
import type { Context, Handler } from 'hono';
import type { GatewayContext, GatewayEnv } from '../gateway-context.ts';
import type { ChatAudio } from '../openai/chat-audio.ts';
import { parseChatRequest } from '../openai/chat-request.ts';
import { readJsonBody } from '../openai/json-body.ts';
import { replyChatCompletion, replyChatStream } from '../replies/chat-reply.ts';
import { replySpokenChat, replySpokenChatStream } from '../replies/spoken-chat-reply.ts';
import { type ChatStreamRequest, answerChatByStream } from './chat-stream.ts';
import { chooseChatVoice } from './chat-voice.ts';

/** `POST /v1/chat/completions`. */
export function chatCompletions(context: GatewayContext): Handler<GatewayEnv> {
  const { config, directory } = context;
  return async (c) => {
    const request = parseChatRequest(await readJsonBody(c, config.MAX_UPLOAD_BYTES));
    const { stream, audio, messages } = request;
    const route = await directory.resolve('llm', request.model);
    const chat = { request, messages, route, stream };
    if (audio) return answerSpoken(c, context, chat, audio);
    const reply = stream ? replyChatStream : replyChatCompletion;
    return answerChatByStream(c, context, chat, ({ opened, response }) =>
      reply(context, opened, response),
    );
  };
}

async function answerSpoken(
  c: Context<GatewayEnv>,
  context: GatewayContext,
  chat: ChatStreamRequest,
  audio: ChatAudio,
): Promise<Response> {
  const tenantId = c.get('tenantId');
  const { model } = chat.route;
  const { format } = audio;
  const { includeUsage } = chat.request;
  const content = context.config.AUDIO_CONTENT;
  const voice = await chooseChatVoice(context, audio, { tenantId, content });
  // Started now, so that an encoder's start-up passes while the model thinks.
  const encoderStarted = createAudioEncoder(format);
  encoderStarted.catch(() => undefined); // awaited below
  const reply = chat.stream ? replySpokenChatStream : replySpokenChat;
  try {
    return await answerChatByStream(
      c,
      context,
      { ...chat, stream: true, voice },
      async ({ opened, response, heardSeconds }) => {
        const encoder = await encoderStarted;
        const options = { tenantId, model, encoder, format, includeUsage, heardSeconds };
        await reply(context, opened, response, options);
      },
    );
  } finally {
    await encoderStarted.then(
      (encoder) => encoder.close(),
      () => undefined,
    );
  }
}
