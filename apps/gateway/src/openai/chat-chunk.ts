import type { FinishReason } from '@antiphon/shared/services/ai-service';

export interface ChunkIdentity {
  streamId: string;
  model: string;
  createdSeconds: number;
  /** Other chunks then carry `usage: null` (contract, section 1.3). */
  includeUsage: boolean;
}

/** `chat.completion.chunk` frames that the gateway itself writes: those of spoken answers. */
export class ChunkFrames {
  readonly #head: object;
  readonly #usage: object;

  constructor({ streamId, model, createdSeconds, includeUsage }: ChunkIdentity) {
    const object = 'chat.completion.chunk';
    this.#head = { id: `chatcmpl-${streamId}`, object, created: createdSeconds, model };
    this.#usage = includeUsage ? { usage: null } : {};
  }

  /** `extra`: fields of ours beside OpenAI's. */
  delta(delta: object, finishReason: FinishReason | null = null, extra: object = {}): string {
    const choice = { index: 0, delta, logprobs: null, finish_reason: finishReason };
    return this.#frame({ choices: [choice], ...this.#usage, ...extra });
  }

  /** The last audio update; both official SDKs want it without a finish reason. */
  expiry(expiresAtSeconds: number): string {
    const delta = { audio: { expires_at: expiresAtSeconds } };
    return this.#frame({ choices: [{ index: 0, delta }], ...this.#usage });
  }

  usage(usage: object): string {
    return this.#frame({ choices: [], usage });
  }

  #frame(fields: object): string {
    return `data: ${JSON.stringify({ ...this.#head, ...fields })}\n\n`;
  }
}
