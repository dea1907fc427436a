import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { FinishReason, TokenUsage } from '@antiphon/shared/services/ai-service';

/** Names that other servers use for OpenAI's finish reasons; unknown ones count as `stop`. */
const FINISH_REASONS: Record<string, FinishReason> = {
  stop: 'stop',
  length: 'length',
  tool_calls: 'tool_calls',
  content_filter: 'content_filter',
  function_call: 'function_call',
  max_tokens: 'length',
  model_length: 'length',
  tool_use: 'tool_calls',
  safety: 'content_filter',
};

/** An upstream's `finish_reason` in OpenAI's words, whatever its case; `stop` for one that is not known. */
export function toFinishReason(value: string): FinishReason {
  return FINISH_REASONS[value.toLowerCase()] ?? 'stop';
}

/** A JSON object from an upstream; anything else is `upstream_protocol`. */
export function parseObject(json: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (thrown) {
    throw new VoiceError('upstream_protocol', { cause: thrown });
  }
  if (!isRecord(value)) throw new VoiceError('upstream_protocol');
  return value;
}

/** The choices of a chunk or an answer; one without an index is the first. */
export function choicesIn({
  choices,
}: Record<string, unknown>): { index: number; finishReason: string | undefined }[] {
  if (!Array.isArray(choices)) return [];
  return choices.filter(isRecord).map(({ index, finish_reason: reason }) => ({
    index: typeof index === 'number' ? index : 0,
    finishReason: typeof reason === 'string' && reason !== '' ? reason : undefined,
  }));
}

/** Tokens, whole and not negative: 0 for what is no number. Undefined when there is no `usage`. */
export function usageIn({ usage }: Record<string, unknown>): TokenUsage | undefined {
  if (!isRecord(usage)) return undefined;
  const promptTokens = countIn(usage['prompt_tokens']);
  const completionTokens = countIn(usage['completion_tokens']);
  const totalTokens = countIn(usage['total_tokens']) || promptTokens + completionTokens;
  return { promptTokens, completionTokens, totalTokens };
}

function countIn(value: unknown): number {
  return typeof value === 'number' && Number.isFinite(value) ? Math.max(0, Math.floor(value)) : 0;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
