import type { Context, Handler } from 'hono';
import type { GatewayContext, GatewayEnv } from '../gateway-context.ts';
import { answerOnce } from '../idempotency/answer-once.ts';
import type { ChatAudio } from '../openai/chat-audio.ts';
import { parseChatRequest } from '../openai/chat-request.ts';
import { readJsonBody } from '../openai/json-body.ts';
import { replyChatCompletion, replyChatStream } from '../replies/chat-reply.ts';
import { replySpokenChat, replySpokenChatStream } from '../replies/spoken-chat-reply.ts';
import { withEncoder } from '../replies/with-encoder.ts';
import { type ChatStreamRequest, answerChatByStream } from '../chat/chat-stream.ts';
import { chooseChatVoice } from '../chat/chat-voice.ts';
import { leasedContext, readResume, takeBackground } from '../streams/resume-request.ts';

/** `POST /v1/chat/completions`. */
export function chatCompletions(gateway: GatewayContext): Handler<GatewayEnv> {
  const { config, directory } = gateway;
  return async (c) => {
    const sent = await readJsonBody(c, config.MAX_UPLOAD_BYTES);
    const { body, background } = takeBackground(sent);
    const request = parseChatRequest(body);
    const resume = readResume(c, { background, content: sent.text });
    const context = leasedContext(gateway, resume);
    return answerOnce(c, context, resume, async () => {
      const { stream, audio, messages } = request;
      const route = await directory.resolve('llm', request.model);
      const chat = { request, messages, route, stream, resume };
      if (audio) return answerSpoken(c, context, chat, audio);
      const answer = () => ({ type: 'chat' as const, stream });
      const reply = stream ? replyChatStream : replyChatCompletion;
      return answerChatByStream(c, context, { ...chat, answer }, ({ opened, response }) =>
        reply(context, opened, response),
      );
    });
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
  const createdSeconds = Math.floor(Date.now() / 1000);
  const { stream } = chat;
  const answerOf = (heardSeconds: number) => {
    const asked = { stream, model, format, includeUsage, createdSeconds, heardSeconds };
    return { type: 'spoken-chat' as const, ...asked };
  };
  const reply = stream ? replySpokenChatStream : replySpokenChat;
  return withEncoder(format, (start) =>
    answerChatByStream(
      c,
      context,
      { ...chat, stream: true, voice, answer: answerOf, onAdmitted: start },
      async ({ opened, response, heardSeconds }) => {
        const encoder = await start();
        await reply(context, opened, response, { tenantId, encoder, ...answerOf(heardSeconds) });
      },
    ),
  );
}
