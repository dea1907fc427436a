import type { Handler } from 'hono';
import type { GatewayContext, GatewayEnv } from '../gateway-context.ts';
import { type AssistantRequest, parseAssistantRequest } from '../openai/assistant-request.ts';
import { readJsonBody } from '../openai/json-body.ts';
import { replyAssistant, replyAssistantText } from '../replies/assistant-reply.ts';
import { type ChatVoice, answerChatByStream } from '../chat/chat-stream.ts';
import { chooseChatVoice } from '../chat/chat-voice.ts';
import { refuseResume } from '../streams/resume-request.ts';

/** All that the model writes is shown, code as well. */
const CONTENT = 'full';

/** `POST /api/openai`: plain text for the caller, its speech for `AUDIO_PLAYER`. */
export function assistant(context: GatewayContext): Handler<GatewayEnv> {
  const { config, directory, player } = context;
  return async (c) => {
    refuseResume(c);
    const body = await readJsonBody(c, config.MAX_UPLOAD_BYTES);
    const asked = parseAssistantRequest(body, config.SYSTEM_PROMPT);
    const { chat: request } = asked;
    const { messages } = request;
    const route = await directory.resolve('llm', request.model);
    const voice = await chooseVoice(context, asked, c.get('tenantId'));
    const playback = player.audible;
    const reply = playback ? replyAssistant : replyAssistantText;
    const chat = { request, messages, route, stream: true, voice, playback };
    return answerChatByStream(c, context, chat, ({ opened, response }) =>
      reply(context, opened, response),
    );
  };
}

/** Where nobody hears it, no voice is needed. */
async function chooseVoice(
  context: GatewayContext,
  { voice, speed, instructions }: AssistantRequest,
  tenantId: string,
): Promise<ChatVoice> {
  if (!context.player.audible) return { job: { content: CONTENT, silent: true } };
  const asked = { voice: voice ?? undefined, speed, instructions, param: 'voice' };
  return chooseChatVoice(context, asked, { tenantId, content: CONTENT });
}
