import { setImmediate as nextTurn, setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import type {
  AIService,
  ChatEvent,
  ChatRequest,
  ModelList,
} from '@antiphon/shared/services/ai-service';
import { defineEngine } from '@antiphon/shared/services/define-engine';
import { type DemoRequest, parseDemoRequest } from './demo/chat-request.ts';
import { demoAnswer } from './demo/demo-answer.ts';

const MODELS = ['demo', 'gpt-4o', 'gpt-4o-mini', 'gpt-4o-audio-preview', 'gpt-audio'];

/** A word of up to eight letters with the blanks before it; longer words are several tokens. */
const TOKEN = /\s*\S{1,8}|\s+$/gu;
/** For the prompt's share of `usage`, as OpenAI's rule of thumb has it. */
const CHARACTERS_PER_TOKEN = 4;
/** In a flood: tokens between two turns of the event loop. */
const TOKENS_PER_TURN = 64;

class DemoService implements AIService {
  readonly #tokensPerSecond: number;

  constructor(tokensPerSecond: number) {
    this.#tokensPerSecond = tokensPerSecond;
  }

  async listModels(): Promise<ModelList> {
    return { models: MODELS };
  }

  async *streamChat({ requestJson }: ChatRequest, signal: AbortSignal): AsyncGenerator<ChatEvent> {
    signal.throwIfAborted();
    const request = parseDemoRequest(requestJson);
    const tokens = tokensOf(answerTo(request));
    const sent = tokens.slice(0, request.maxTokens);
    for await (const text of this.#paced(sent, signal)) yield { type: 'text-delta', text };
    const promptTokens = Math.ceil(request.promptCharacters / CHARACTERS_PER_TOKEN);
    yield {
      type: 'finish',
      finishReason: sent.length < tokens.length ? 'length' : 'stop',
      usage: {
        promptTokens,
        completionTokens: sent.length,
        totalTokens: promptTokens + sent.length,
      },
    };
  }

  async close(): Promise<void> {
    // Holds nothing.
  }

  /** Each token at its own time, so that a slow one does not delay all that follow. */
  async *#paced(tokens: readonly string[], signal: AbortSignal): AsyncGenerator<string> {
    const beganMs = performance.now();
    const intervalMs = this.#tokensPerSecond === 0 ? 0 : 1000 / this.#tokensPerSecond;
    for (const [index, token] of tokens.entries()) {
      const waitMs = beganMs + index * intervalMs - performance.now();
      if (waitMs > 0) await pause(waitMs, signal);
      else if (index % TOKENS_PER_TURN === 0) await nextTurn();
      signal.throwIfAborted();
      yield token;
    }
  }
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await delay(ms, undefined, { signal });
  } catch {
    throw signal.reason;
  }
}

/** The whole text, cut at the first stop sequence. */
function answerTo({ prompt, asJson, stop }: DemoRequest): string {
  const answer = demoAnswer(prompt, new Date());
  const text = asJson ? JSON.stringify({ answer }) : answer;
  const ends = stop.map((sequence) => text.indexOf(sequence)).filter((at) => at !== -1);
  return text.slice(0, Math.min(text.length, ...ends));
}

function tokensOf(text: string): string[] {
  return text.match(TOKEN) ?? [];
}

export const demo = defineEngine({
  description: 'Rules instead of a model: no key, no download; for trying antiphon out',
  defaultConcurrency: 256,
  // Nobody waits behind them, but all of them speak on one event loop.
  defaultBatchConcurrency: 64,
  config: z
    .object({
      LLM_DEMO_TOKENS_PER_SECOND: z.coerce
        .number('must be a number')
        .min(0)
        .max(1_000_000)
        .default(60),
    })
    .transform(({ LLM_DEMO_TOKENS_PER_SECOND: tokensPerSecond }) => ({ tokensPerSecond })),
  create: async ({ tokensPerSecond }): Promise<AIService> => new DemoService(tokensPerSecond),
});
