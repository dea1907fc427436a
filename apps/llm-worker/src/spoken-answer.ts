import type { ChatJob } from '@antiphon/shared/jobs/job-catalog';
import type { JobProducer } from '@antiphon/shared/queue/job-producer';
import { releasePhrases } from '@antiphon/shared/queue/phrase-release';
import type { Logger } from '@antiphon/shared/runtime/logger';
import type { FinishReason, TokenUsage } from '@antiphon/shared/services/ai-service';
import type { StreamEvent } from '@antiphon/shared/streams/stream-event';
import type { StreamLog } from '@antiphon/shared/streams/stream-log';
import type { StreamProducer } from '@antiphon/shared/streams/stream-producer';
import {
  type Phrase,
  type PhraseSplitter,
  createPhraseSplitter,
} from '@antiphon/shared/text/phrase-splitter';

/** A model that pauses (a tool call) behind a whole sentence: it is spoken without more text (rule C9). */
const IDLE_FLUSH_MS = 400;
/** With so many entries waiting the engine is held back. */
const MOST_WAITING = 64;
/** Text may come for minutes of which nothing is said or shown: the stream is told that it does. */
const SIGN_OF_LIFE_MS = 5000;

export interface SpokenAnswerOptions {
  streamId: string;
  audio: NonNullable<ChatJob['audio']>;
  producer: StreamProducer;
  signal: AbortSignal;
  log: StreamLog;
  jobs: JobProducer;
  logger: Logger;
  /** For tests. */
  signOfLifeMs?: number;
}

type Entry = Extract<StreamEvent, { type: 'phrase-start' | 'message-delta' }> & {
  pause?: Phrase['pause'];
};

/**
 * Text that is spoken while it is written: cut into phrases, each sent straight to the tts queue.
 * One append is in flight; what is shown meanwhile is joined.
 */
export class SpokenAnswer {
  readonly #options: SpokenAnswerOptions;
  readonly #splitter: PhraseSplitter;
  readonly #startedAtMs = performance.now();
  readonly #idleTimer: NodeJS.Timeout;
  #firstTokenMs: number | undefined;
  #answer = '';
  #showsText = false;
  #queuedAtMs = performance.now();
  #phraseCount = 0;
  #waiting: Entry[] = [];
  #running: Promise<void> | undefined;
  #failure: { thrown: unknown } | undefined;

  constructor(options: SpokenAnswerOptions) {
    this.#options = options;
    const { content, maxPhraseCharacters: maxCharacters } = options.audio;
    this.#splitter = createPhraseSplitter({
      ...(maxCharacters === undefined ? {} : { maxCharacters }),
      ...(content === 'code' ? { onUnspoken: (raw) => this.#show({ content: raw }) } : {}),
    });
    this.#idleTimer = setTimeout(() => this.#speak(this.#splitter.flushSentence()), IDLE_FLUSH_MS);
    this.#idleTimer.unref();
  }

  /** More text of the answer. Throws what an earlier append threw. */
  async push(content: string): Promise<void> {
    if (content === '') return;
    this.#noteToken();
    this.#answer += content;
    if (this.#options.audio.content === 'full') this.#show({ content });
    if (!this.#options.audio.silent) this.#speak(this.#splitter.push(content));
    this.#idleTimer.refresh();
    const { signOfLifeMs = SIGN_OF_LIFE_MS } = this.#options;
    if (performance.now() - this.#queuedAtMs >= signOfLifeMs) this.#show({});
    await this.#holdBack();
  }

  /** What is not text: tool calls, a refusal, reasoning. */
  async show(delta: Record<string, unknown>): Promise<void> {
    this.#noteToken();
    this.#show(delta);
    await this.#holdBack();
  }

  /** Cuts the rest into phrases; resolves when all that came is in the log, also after a failure of the engine. */
  async flush(): Promise<void> {
    clearTimeout(this.#idleTimer);
    this.#speak(this.#splitter.end());
    await this.#running;
    this.#rethrow();
  }

  /** The end of the text; the stream ends when its last phrase is spoken. */
  async end(finishReason: FinishReason, usage: TokenUsage | undefined): Promise<void> {
    const { producer, signal, audio } = this.#options;
    const phraseCount = this.#phraseCount;
    // Nothing but emoji or a rule: it would be lost.
    if (phraseCount === 0 && !this.#showsText && audio.content === 'code' && this.#answer !== '') {
      this.#show({ content: this.#answer });
      await this.flush();
    }
    await producer.append(
      {
        type: 'text-end',
        finishReason,
        ...(usage ? { usage } : {}),
        phraseCount,
        answer: this.#answer,
      },
      { ends: 'text', phraseCount, signal },
    );
  }

  #noteToken(): void {
    this.#firstTokenMs ??= performance.now() - this.#startedAtMs;
  }

  #show(delta: Record<string, unknown>): void {
    this.#showsText ||= typeof delta['content'] === 'string';
    const last = this.#waiting.at(-1);
    const merged = last?.type === 'message-delta' ? joinContent(last.delta, delta) : undefined;
    if (last?.type === 'message-delta' && merged) last.delta = merged;
    else this.#queue({ type: 'message-delta', delta });
  }

  #speak(phrases: Phrase[]): void {
    for (const { index: phraseIndex, text, before, pause } of phrases) {
      const first = phraseIndex === 0 ? { firstTokenMs: this.#firstTokenMs ?? 0 } : {};
      this.#queue({ type: 'phrase-start', phraseIndex, text, before, pause, ...first });
      this.#phraseCount = phraseIndex + 1;
    }
  }

  #queue(entry: Entry): void {
    if (this.#failure) return; // a gap in what is written could never be spoken over
    this.#queuedAtMs = performance.now();
    this.#waiting.push(entry);
    this.#running ??= this.#run();
  }

  async #holdBack(): Promise<void> {
    if (this.#waiting.length >= MOST_WAITING) await this.#running;
    this.#rethrow();
  }

  #rethrow(): void {
    if (this.#failure) throw this.#failure.thrown;
  }

  async #run(): Promise<void> {
    try {
      for (let entry = this.#waiting.shift(); entry; entry = this.#waiting.shift()) {
        await this.#append(entry);
      }
    } catch (thrown) {
      this.#failure = { thrown };
      this.#waiting = [];
    } finally {
      this.#running = undefined;
    }
  }

  async #append({ pause, ...event }: Entry): Promise<void> {
    const { producer, signal, log, jobs, streamId, logger } = this.#options;
    if (event.type === 'message-delta') return producer.append(event, { signal });
    const { phraseIndex, text } = event;
    const body = pause === undefined ? { text } : { text, pause };
    const appended = producer.append(event, { phrase: { phraseIndex, body }, signal });
    // Sent behind the append on the same connection: one way to Redis and back for both.
    releasePhrases(log, jobs, streamId).catch((error: unknown) => {
      logger.warn({ err: error, streamId }, 'release'); // the gateway tries again within a second
    });
    await appended;
  }
}

/** Two deltas of nothing but text as one. */
function joinContent(
  one: Record<string, unknown>,
  other: Record<string, unknown>,
): Record<string, unknown> | undefined {
  const [first, second] = [one['content'], other['content']];
  if (typeof first !== 'string' || typeof second !== 'string') return undefined;
  if (Object.keys(one).length > 1 || Object.keys(other).length > 1) return undefined;
  return { content: first + second };
}
