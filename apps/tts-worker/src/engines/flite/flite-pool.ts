import { Worker } from 'node:worker_threads';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { PcmChunk } from '@antiphon/shared/services/tts-service';
import type { FliteOrder, FliteReply, FliteThreadData } from './flite-thread.ts';

const THREAD_FILE = new URL('./flite-thread.ts', import.meta.url);

/** One thread and what it said that nobody has read yet. */
class FliteThread {
  readonly #worker: Worker;
  readonly #ended: Promise<void>;
  #replies: FliteReply[] = [];
  #wake: (() => void) | undefined;

  constructor(workerData: FliteThreadData, onExit: (thread: FliteThread) => void) {
    this.#worker = new Worker(THREAD_FILE, { workerData, name: 'flite' });
    this.#worker.on('message', (reply: FliteReply) => this.#take(reply));
    this.#worker.on('error', (error) => this.#take({ type: 'failed', reason: String(error) }));
    this.#ended = new Promise((resolve) => {
      this.#worker.once('exit', () => {
        this.#take({ type: 'failed', reason: 'The thread ended.' });
        onExit(this);
        resolve();
      });
    });
  }

  #take(reply: FliteReply): void {
    this.#replies.push(reply);
    this.#wake?.();
  }

  /** The next reply; rejects with the signal's reason as soon as it aborts. */
  async reply(signal: AbortSignal): Promise<FliteReply> {
    for (;;) {
      signal.throwIfAborted();
      const reply = this.#replies.shift();
      if (reply !== undefined) return reply;
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          signal.removeEventListener('abort', wake);
          resolve();
        };
        signal.addEventListener('abort', wake);
        this.#wake = wake;
      });
    }
  }

  /** A thread that is still starting takes it too: the message waits for it. */
  order(order: FliteOrder): void {
    this.#worker.postMessage(order);
  }

  async terminate(): Promise<void> {
    await this.#worker.terminate();
    await this.#ended;
  }
}

/**
 * Threads that speak, `size` at a time. One more is kept warm: an abort kills its thread in the
 * middle of WebAssembly, and the next phrase need not wait for a new one (40 to 90 ms). Threads in
 * the background have all the time, and give way to the others.
 */
export class FlitePool {
  readonly #threadData: FliteThreadData;
  readonly #size: number;
  readonly #keptCount: number;
  readonly #threads = new Set<FliteThread>();
  readonly #idle: FliteThread[] = [];
  readonly #waiting: (() => void)[] = [];
  readonly #closing = new AbortController();
  #activeCount = 0;

  constructor(threadData: FliteThreadData, size: number) {
    this.#threadData = threadData;
    this.#size = size;
    this.#keptCount = threadData.background ? size : size + 1;
    this.#refill();
  }

  /** Threads that are alive. */
  get threadCount(): number {
    return this.#threads.size;
  }

  /** Resolves when every thread can speak; throws what keeps one from it. */
  async ready(): Promise<void> {
    await Promise.all(
      this.#idle.map(async (thread) => {
        const reply = await thread.reply(this.#closing.signal);
        if (reply.type === 'failed') throw new Error(`flite does not start: ${reply.reason}`);
        // Not every engine's first run is like its second: warm it with a word.
        for await (const _ of this.#listen(
          thread,
          { args: [], text: 'Hi.' },
          this.#closing.signal,
        ));
      }),
    );
  }

  /** Speaks on the next free thread. An abort ends that thread; another takes its place. */
  async *speak(order: FliteOrder, signal: AbortSignal): AsyncGenerator<PcmChunk> {
    const either = AbortSignal.any([signal, this.#closing.signal]);
    await this.#waitForTurn(either);
    const thread = this.#idle.shift() ?? this.#start();
    let finished = false;
    try {
      yield* this.#listen(thread, order, either);
      finished = true;
    } finally {
      await this.#release(thread, finished);
    }
  }

  async *#listen(
    thread: FliteThread,
    order: FliteOrder,
    signal: AbortSignal,
  ): AsyncGenerator<PcmChunk> {
    thread.order(order);
    for (;;) {
      const reply = await thread.reply(signal);
      if (reply.type === 'audio') yield { pcm: reply.pcm, sampleRateHz: reply.sampleRateHz };
      if (reply.type === 'end') return;
      if (reply.type === 'failed') throw new VoiceError('engine_failed', { cause: reply.reason });
    }
  }

  async #waitForTurn(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#activeCount < this.#size) {
      this.#activeCount += 1;
      return;
    }
    await new Promise<void>((resolve, reject) => {
      const leave = (): void => {
        this.#waiting.splice(this.#waiting.indexOf(start), 1);
        reject(signal.reason as Error);
      };
      const start = (): void => {
        signal.removeEventListener('abort', leave);
        resolve();
      };
      signal.addEventListener('abort', leave);
      this.#waiting.push(start);
    });
  }

  async #release(thread: FliteThread, finished: boolean): Promise<void> {
    if (finished && this.#threads.has(thread)) this.#idle.unshift(thread);
    else this.#threads.delete(thread);
    this.#refill();
    const next = this.#waiting.shift();
    if (next === undefined) this.#activeCount -= 1;
    else next();
    if (!finished) await thread.terminate();
  }

  #refill(): void {
    if (this.#closing.signal.aborted) return;
    while (this.#threads.size < this.#keptCount) this.#idle.push(this.#start());
  }

  #start(): FliteThread {
    const thread = new FliteThread(this.#threadData, (ended) => {
      // One that died by itself is not replaced here, but at the next release: no loop of deaths.
      this.#threads.delete(ended);
      const index = this.#idle.indexOf(ended);
      if (index !== -1) this.#idle.splice(index, 1);
    });
    this.#threads.add(thread);
    return thread;
  }

  /** Ends every thread; phrases in progress end with `server_shutting_down`. */
  async close(): Promise<void> {
    this.#closing.abort(new VoiceError('server_shutting_down'));
    await Promise.all([...this.#threads].map((thread) => thread.terminate()));
  }
}
