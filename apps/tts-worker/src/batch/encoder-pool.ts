import { Worker } from 'node:worker_threads';
import type { AudioEncoder } from '@antiphon/shared/audio/audio-encoder';
import { type AudioFormat, CONTENT_TYPES } from '@antiphon/shared/audio/audio-format';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { EncoderOrder, EncoderReply } from './encoder-thread.ts';

const THREAD_FILE = new URL('./encoder-thread.ts', import.meta.url);

/** One thread and the encoders that run in it. */
class EncoderThread {
  readonly #worker = new Worker(THREAD_FILE, { name: 'encoder' });
  /** By encoder: what it was asked and has not answered. */
  readonly #asked = new Map<number, PromiseWithResolvers<Uint8Array>>();
  readonly #ended: Promise<void>;
  #failure: VoiceError | undefined;
  openCount = 0;

  constructor(onExit: (thread: EncoderThread) => void) {
    this.#worker.on('message', (reply: EncoderReply) => this.#take(reply));
    this.#worker.on('error', (error) => this.#fail(error));
    this.#ended = new Promise((resolve) => {
      this.#worker.once('exit', () => {
        this.#fail('The thread ended.');
        onExit(this);
        resolve();
      });
    });
  }

  /** Throws what the encoder throws; `engine_failed` when the thread is gone. */
  async ask(order: EncoderOrder): Promise<Uint8Array> {
    if (this.#failure) throw this.#failure;
    const asked = Promise.withResolvers<Uint8Array>();
    this.#asked.set(order.id, asked);
    this.#worker.postMessage(order);
    return asked.promise;
  }

  tell(order: EncoderOrder): void {
    this.#worker.postMessage(order);
  }

  async terminate(): Promise<void> {
    await this.#worker.terminate();
    await this.#ended;
  }

  #take(reply: EncoderReply): void {
    const asked = this.#asked.get(reply.id);
    this.#asked.delete(reply.id);
    if ('bytes' in reply) asked?.resolve(reply.bytes);
    else asked?.reject(VoiceError.deserialize(reply.error));
  }

  #fail(cause: unknown): void {
    this.#failure ??= new VoiceError('engine_failed', { cause });
    for (const asked of this.#asked.values()) asked.reject(this.#failure);
    this.#asked.clear();
  }
}

/** Encoders in a few threads of the lowest priority, which are started when they are needed. */
export class EncoderPool {
  readonly #size: number;
  readonly #threads = new Set<EncoderThread>();
  #nextId = 0;
  #closed = false;

  /** `size`: threads. */
  constructor(size: number) {
    this.#size = size;
  }

  /** As `createAudioEncoder`; a thread that dies fails its encoders with `engine_failed`. */
  async open(format: AudioFormat): Promise<AudioEncoder> {
    if (this.#closed) throw new VoiceError('server_shutting_down');
    const thread = this.#choose();
    const id = this.#nextId++;
    let closed = false;
    const close = () => {
      if (closed) return;
      closed = true;
      thread.openCount -= 1;
      thread.tell({ id, type: 'close' });
    };
    thread.openCount += 1;
    try {
      await thread.ask({ id, type: 'open', format });
    } catch (error) {
      close();
      throw error;
    }
    return {
      contentType: CONTENT_TYPES[format],
      encode: (pcm) => thread.ask({ id, type: 'encode', pcm }),
      end: () => thread.ask({ id, type: 'end' }),
      close,
    };
  }

  /** Ends every thread; encoders that are open fail. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#threads].map((thread) => thread.terminate()));
  }

  #choose(): EncoderThread {
    const [idlest] = [...this.#threads].toSorted((a, b) => a.openCount - b.openCount);
    if (idlest && (idlest.openCount === 0 || this.#threads.size >= this.#size)) return idlest;
    const thread = new EncoderThread((ended) => this.#threads.delete(ended));
    this.#threads.add(thread);
    return thread;
  }
}
