import type { ChatJob } from '@antiphon/shared/jobs/job-catalog';
import type { GatewayContext } from '../gateway-context.ts';
import { chooseVoice } from '../openai/speech-request.ts';
import type { ChatVoice } from './chat-stream.ts';
import { planSpeech } from '../speech/speech-plan.ts';

export interface AskedVoice {
  /** Left out: the engine's first. */
  voice: string | { id: string } | undefined;
  speed: number;
  instructions: string | undefined;
  /** Where the request names its voice; `audio.voice` unless told. */
  param?: string;
}

/**
 * The engine and voice of a spoken answer: `DEFAULT_SPEECH_MODEL`, else the first live engine.
 * Throws `invalid_value` (with that param) and `server_is_overloaded`.
 */
export async function chooseChatVoice(
  { directory, gatewayId, config }: GatewayContext,
  { voice: asked, speed, instructions, param = 'audio.voice' }: AskedVoice,
  { tenantId, content }: { tenantId: string; content: NonNullable<ChatJob['audio']>['content'] },
): Promise<ChatVoice> {
  const { model, worker } = await directory.resolve('tts', undefined);
  const voice = chooseVoice(worker, asked, param);
  const { maxPhraseCharacters } = worker;
  return {
    queueName: worker.queueName,
    opening: planSpeech(worker, {
      ...{ tenantId, gatewayId, model, voice, speed },
      ...(instructions === undefined ? {} : { instructions }),
      onPhraseError: config.ON_PHRASE_ERROR,
    }),
    job: { content, ...(maxPhraseCharacters === undefined ? {} : { maxPhraseCharacters }) },
  };
}
