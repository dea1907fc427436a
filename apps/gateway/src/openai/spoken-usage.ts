import { SAMPLE_RATE_HZ } from '@antiphon/shared/audio/audio-format';
import type { TokenUsage } from '@antiphon/shared/services/ai-service';

/** OpenAI counts one token per 100 ms of a user's audio and per 50 ms of an assistant's (its guide on realtime costs). */
const HEARD_TOKENS_PER_SECOND = 10;
const SPOKEN_TOKENS_PER_SECOND = 20;

/**
 * The usage of a chat with sound: the model's own tokens, and the sound's by its length. A model
 * that tells no usage has 0 text tokens.
 */
export function spokenUsage(
  usage: TokenUsage | undefined,
  { heardSeconds, spokenSamples }: { heardSeconds: number; spokenSamples: number },
) {
  const textIn = usage?.promptTokens ?? 0;
  const textOut = usage?.completionTokens ?? 0;
  const audioIn = Math.ceil(heardSeconds * HEARD_TOKENS_PER_SECOND);
  const audioOut = Math.ceil((spokenSamples / SAMPLE_RATE_HZ) * SPOKEN_TOKENS_PER_SECOND);
  return {
    prompt_tokens: textIn + audioIn,
    completion_tokens: textOut + audioOut,
    total_tokens: textIn + audioIn + textOut + audioOut,
    prompt_tokens_details: { cached_tokens: 0, audio_tokens: audioIn, text_tokens: textIn },
    completion_tokens_details: {
      reasoning_tokens: 0,
      audio_tokens: audioOut,
      text_tokens: textOut,
    },
  };
}
