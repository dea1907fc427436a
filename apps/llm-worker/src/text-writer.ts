import type { ChatEvent, FinishReason, TokenUsage } from '@antiphon/shared/services/ai-service';

/** Makes the client's bytes of what an engine yields; undefined when there is nothing to send yet. */
export interface TextWriter {
  write(event: ChatEvent): Uint8Array | undefined;
}

interface Answer {
  streamId: string;
  model: string;
}

const nowSeconds = (): number => Math.floor(Date.now() / 1000);
const completionId = (streamId: string): string => `chatcmpl-${streamId}`;

/**
 * `chat.completion.chunk` frames (contract, section 1.3): role once, content deltas, an empty delta
 * with the finish reason, usage when asked for. Ready frames of an engine pass untouched.
 */
export function createChunkWriter({
  streamId,
  model,
  requestJson,
}: Answer & { requestJson: string }): TextWriter {
  const created = nowSeconds();
  let includeUsage: boolean | undefined;
  let ownFrames = false;
  const frame = (choices: unknown[], usage?: unknown): string => {
    includeUsage ??= wantsUsage(requestJson);
    const chunk = {
      id: completionId(streamId),
      object: 'chat.completion.chunk',
      created,
      model,
      choices,
      ...(includeUsage ? { usage: usage ?? null } : {}),
    };
    return `data: ${JSON.stringify(chunk)}\n\n`;
  };
  const delta = (content: object, finishReason: FinishReason | null = null): string =>
    frame([{ index: 0, delta: content, logprobs: null, finish_reason: finishReason }]);
  const role = (): string => {
    if (ownFrames) return '';
    ownFrames = true;
    return delta({ role: 'assistant', content: '', refusal: null });
  };
  return {
    write(event) {
      switch (event.type) {
        case 'chunk-frames':
          return event.frames;
        case 'text-delta':
          return Buffer.from(role() + delta({ content: event.text }));
        case 'finish': {
          // An engine that sent ready frames has sent these as well.
          if (!ownFrames) return undefined;
          const usage = includeUsage && event.usage ? frame([], wireUsage(event.usage)) : '';
          return Buffer.from(delta({}, event.finishReason) + usage);
        }
        case 'completion-bytes':
          return undefined;
      }
    },
  };
}

/** One `chat.completion` (contract, section 1.2). A ready answer of an engine passes untouched. */
export function createCompletionWriter({ streamId, model }: Answer): TextWriter {
  let content = '';
  let ready = false;
  return {
    write(event) {
      switch (event.type) {
        case 'completion-bytes':
          ready = true;
          return event.bytes;
        case 'text-delta':
          content += event.text;
          return undefined;
        case 'finish': {
          if (ready) return undefined;
          const message = { role: 'assistant', content, refusal: null };
          const choice = { index: 0, message, logprobs: null, finish_reason: event.finishReason };
          return Buffer.from(
            JSON.stringify({
              id: completionId(streamId),
              object: 'chat.completion',
              created: nowSeconds(),
              model,
              choices: [choice],
              ...(event.usage ? { usage: wireUsage(event.usage) } : {}),
            }),
          );
        }
        case 'chunk-frames':
          return undefined;
      }
    },
  };
}

function wireUsage({ promptTokens, completionTokens, totalTokens }: TokenUsage) {
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: totalTokens,
    prompt_tokens_details: { cached_tokens: 0, audio_tokens: 0 },
    completion_tokens_details: { reasoning_tokens: 0, audio_tokens: 0 },
  };
}

function wantsUsage(requestJson: string): boolean {
  const request = JSON.parse(requestJson) as {
    stream_options?: { include_usage?: boolean } | null;
  };
  return request.stream_options?.include_usage === true;
}
