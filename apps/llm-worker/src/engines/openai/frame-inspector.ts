import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { FinishReason, TokenUsage } from '@antiphon/shared/services/ai-service';
import { messageIn, scrubSecrets } from '@antiphon/shared/services/upstream-error';
import { choicesIn, parseObject, toFinishReason, usageIn } from './completion-json.ts';
import { KeySearch } from './key-search.ts';

const FINISH_REASON = new KeySearch('finish_reason');
const USAGE = new KeySearch('usage');
const ERROR = new KeySearch('error');

const LINE_FEED = 0x0a;
const FRAME_START_BYTES = 'data: '.length;
const QUOTE = 0x22;
const LETTER_N = 0x6e;
const OPEN_BRACE = 0x7b;

export interface Inspection {
  /** How much of the block may go to the client: all, or what lies before an error frame. */
  byteCount: number;
  error?: VoiceError;
}

/**
 * Watches the frames that pass for what matters: finish reasons, usage, errors. Found by byte
 * search. Inside a JSON string a quote is always escaped, so `"finish_reason"` followed by a colon
 * is a key and never text; a frame is parsed only when the key has a value that counts.
 */
export class FrameInspector {
  readonly #choiceCount: number;
  readonly #apiKey: string | undefined;
  readonly #finishReasons = new Map<number, FinishReason>();
  /** Some servers send usage with every frame: the last one is parsed, at the end. */
  #usageFrame: Buffer | undefined;

  constructor(choiceCount: number, apiKey: string | undefined) {
    this.#choiceCount = choiceCount;
    this.#apiKey = apiKey;
  }

  /** Whole frames, as `FrameSplitter` gives them. */
  inspect(block: Buffer): Inspection {
    const inspection = this.#findError(block);
    const frames = inspection.error ? block.subarray(0, inspection.byteCount) : block;
    this.#findFinishReasons(frames);
    this.#findUsage(frames);
    return inspection;
  }

  /** Choice 0's finish reason and the usage. Throws `upstream_protocol` when a choice has none. */
  finish(): { finishReason: FinishReason; usage?: TokenUsage } {
    const finishReason = this.#finishReasons.get(0);
    if (finishReason === undefined || this.#finishReasons.size < this.#choiceCount) {
      const message =
        'The upstream server of this engine ended its answer without a finish reason.';
      throw new VoiceError('upstream_protocol', { message });
    }
    const usage = this.#usageFrame && usageIn(parseFrame(this.#usageFrame));
    return { finishReason, ...(usage === undefined ? {} : { usage }) };
  }

  #findError(block: Buffer): Inspection {
    for (let at = ERROR.nextValue(block, 0); at !== -1; at = ERROR.nextValue(block, at)) {
      if (block[at] === LETTER_N) continue; // null
      const { frame, start } = frameAround(block, at);
      const body = parseFrame(frame);
      if (body['error'] === undefined || body['error'] === null) continue;
      const { message } = messageIn(body);
      const options = message ? { message: scrubSecrets(message, this.#apiKey) } : {};
      return { byteCount: start, error: new VoiceError('upstream_error', options) };
    }
    return { byteCount: block.byteLength };
  }

  #findFinishReasons(block: Buffer): void {
    for (
      let at = FINISH_REASON.nextValue(block, 0);
      at !== -1;
      at = FINISH_REASON.nextValue(block, at)
    ) {
      if (block[at] !== QUOTE) continue;
      for (const { index, finishReason } of choicesIn(parseFrame(frameAround(block, at).frame))) {
        if (finishReason) this.#finishReasons.set(index, toFinishReason(finishReason));
      }
    }
  }

  #findUsage(block: Buffer): void {
    for (let at = USAGE.nextValue(block, 0); at !== -1; at = USAGE.nextValue(block, at)) {
      if (block[at] === OPEN_BRACE) this.#usageFrame = frameAround(block, at).frame;
    }
  }
}

function frameAround(block: Buffer, at: number): { frame: Buffer; start: number } {
  const start = block.lastIndexOf(LINE_FEED, at) + 1;
  const end = block.indexOf(LINE_FEED, at);
  return { frame: block.subarray(start, end === -1 ? undefined : end), start };
}

function parseFrame(frame: Buffer): Record<string, unknown> {
  return parseObject(frame.toString('utf8', FRAME_START_BYTES));
}
