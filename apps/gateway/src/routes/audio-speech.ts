import { releasePhrases } from '@antiphon/shared/queue/phrase-release';
import type { Context, Handler } from 'hono';
import type { GatewayContext, GatewayEnv } from '../gateway-context.ts';
import { answerOnce } from '../idempotency/answer-once.ts';
import { readJsonBody } from '../openai/json-body.ts';
import { type SpeechRequest, chooseVoice, parseSpeechRequest } from '../openai/speech-request.ts';
import { replySpeech, replySpeechEvents } from '../replies/speech-reply.ts';
import { withEncoder } from '../replies/with-encoder.ts';
import {
  type Resume,
  leasedContext,
  readResume,
  takeBackground,
} from '../streams/resume-request.ts';
import { cutPhrases, planSpeech, spokenHow } from '../speech/speech-plan.ts';
import { answerByStream, configuredDeadlines } from '../streams/answer-by-stream.ts';

const MAX_BODY_BYTES = 1_048_576;

/** `POST /v1/audio/speech`: the gateway cuts the text, there is no llm job. */
export function audioSpeech(gateway: GatewayContext): Handler<GatewayEnv> {
  const { config } = gateway;
  const maxBodyBytes = Math.max(MAX_BODY_BYTES, config.MAX_INPUT_CHARACTERS * 6);
  return async (c) => {
    const sent = await readJsonBody(c, maxBodyBytes);
    const { body, background } = takeBackground(sent);
    const request = parseSpeechRequest(body, config.MAX_INPUT_CHARACTERS);
    const resume = readResume(c, { background, content: sent.text });
    const context = leasedContext(gateway, resume);
    return answerOnce(c, context, resume, () => speak(c, context, request, resume));
  };
}

async function speak(
  c: Context<GatewayEnv>,
  context: GatewayContext,
  request: SpeechRequest,
  resume: Resume | undefined,
): Promise<Response> {
  const { config, directory, log, jobs } = context;
  const { model, worker } = await directory.resolve('tts', request.model || undefined);
  const voice = chooseVoice(worker, request.voice);
  const phrases = cutPhrases(request, {
    markdown: config.STRIP_MARKDOWN,
    maxCharacters: worker.maxPhraseCharacters,
    isAwaited: true,
  });
  const format = request.response_format ?? 'mp3';
  const { gatewayId } = context;
  const speaker = { tenantId: c.get('tenantId'), gatewayId, model, voice };
  const stream = request.stream_format === 'sse';
  const inputCharacters = request.input.length;
  const answer = { stream, format, phraseCount: phrases.length, inputCharacters };
  return withEncoder(format, (start) =>
    answerByStream(
      c,
      context,
      {
        ...{ resume, characters: inputCharacters, onAdmitted: start },
        answer: { type: 'speech', ...answer },
        route: {
          queues: { tts: worker.queueName },
          firstStage: 'tts',
          phraseCount: phrases.length,
        },
        deadlines: configuredDeadlines(context),
        opening: {
          kind: 'speech',
          model,
          phraseCount: phrases.length,
          ...planSpeech(worker, { ...speaker, ...spokenHow(request) }),
        },
        enqueue: async (streamId) => {
          await log.addPhrases(streamId, 0, phrases);
          await releasePhrases(log, jobs, streamId);
        },
      },
      async (opened, response) => {
        const encoder = await start();
        const reply = stream ? replySpeechEvents : replySpeech;
        await reply(context, opened, response, { ...answer, encoder });
      },
    ),
  );
}
