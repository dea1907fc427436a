import { extname, join, dirname, basename } from 'node:path';
import { SAMPLE_RATE_HZ } from '@antiphon/shared/audio/audio-format';
import type { AudioPlayer } from '@antiphon/shared/services/audio-player';
import type { ChatCompletionMessageParam } from 'openai/resources/chat/completions';
import { describeApiFailure, isAbort } from '../api-failure.ts';
import { CliError } from '../cli-error.ts';
import type { CliContext } from '../context.ts';
import { createModelChoice, type ModelChoice, USUAL_CHAT_MODELS } from '../model-choice.ts';
import { createWavFile, type WavFile } from '../sound/output-file.ts';
import { playerFailure } from '../sound/open-player.ts';
import { SoundQueue } from '../sound/sound-queue.ts';
import { type Answer, streamAnswer } from './answer.ts';
import { refusesAudio } from './audio-refusal.ts';

export interface ConversationOptions {
  model?: string;
  voice: string;
  system?: string;
  /** True: asked for by name; undefined: spoken where it can be. */
  speak?: boolean;
  /** An absolute path that ends in `.wav`. */
  save?: string;
}

/** Turns with one server, each answered with all that was said before. */
export class Conversation {
  readonly #context: CliContext;
  readonly #options: ConversationOptions;
  readonly #messages: ChatCompletionMessageParam[];
  readonly #model: ModelChoice;
  #player: AudioPlayer | undefined;
  /** The server or the loudspeaker cannot; said once. */
  #textOnly = false;
  #saved = 0;

  constructor(context: CliContext, options: ConversationOptions) {
    this.#context = context;
    this.#options = options;
    this.#model = createModelChoice(context.api, options.model, USUAL_CHAT_MODELS);
    this.#messages =
      options.system === undefined ? [] : [{ role: 'system', content: options.system }];
  }

  /** Makes ready what speaks. Throws a CliError only where speech was asked for by name. */
  async open(): Promise<void> {
    if (this.#options.speak === false) return;
    try {
      const player = await this.#context.openPlayer();
      if (player.audible) this.#player = player;
      else await player.close();
    } catch (thrown) {
      this.#withoutSound(thrown);
    }
  }

  /**
   * Asks, and writes, plays and saves the answer while it comes. Resolves when all of it was heard,
   * with false when Ctrl-C cut it short; what came until then is kept. Throws a CliError.
   */
  async ask(prompt: string): Promise<boolean> {
    const { interrupts, api } = this.#context;
    this.#messages.push({ role: 'user', content: prompt });
    const { signal, release } = interrupts.guard();
    try {
      const answer = await this.#answer(signal);
      this.#messages.push({ role: 'assistant', content: answer.text });
      return !signal.aborted;
    } catch (thrown) {
      // A question without an answer would confuse the next turn.
      this.#messages.pop();
      if (signal.aborted && isAbort(thrown)) return false;
      throw describeApiFailure(thrown, api.baseUrl);
    } finally {
      release();
    }
  }

  async close(): Promise<void> {
    await this.#player?.close();
  }

  async #answer(signal: AbortSignal): Promise<Answer> {
    try {
      return await this.#answerOnce(signal);
    } catch (thrown) {
      if (!this.#asksAudio() || !refusesAudio(thrown)) throw thrown;
      this.#giveUpAudio('the server does not speak its answers');
      return this.#answerOnce(signal);
    }
  }

  async #answerOnce(signal: AbortSignal): Promise<Answer> {
    const file = await this.#openFile();
    let queue: SoundQueue | undefined;
    const stopQueue = (): void => void queue?.stop().catch(() => undefined);
    signal.addEventListener('abort', stopQueue, { once: true });
    try {
      queue = await this.#openQueue();
      const answer = await this.#stream({ file, queue, signal });
      if (!signal.aborted) await queue?.end();
      return answer;
    } finally {
      signal.removeEventListener('abort', stopQueue);
      await queue?.stop();
      await this.#finishFile(file);
    }
  }

  async #stream({
    file,
    queue,
    signal,
  }: {
    file: WavFile | undefined;
    queue: SoundQueue | undefined;
    signal: AbortSignal;
  }): Promise<Answer> {
    const { api, terminal } = this.#context;
    const asksAudio = this.#asksAudio();
    let last = '\n';
    const outlets = {
      text: (text: string) => {
        last = text.at(-1) ?? last;
        terminal.print(text);
      },
      sound: async (pcm: Uint8Array) => {
        await Promise.all([file?.write(pcm), queue?.push(pcm)]);
      },
    };
    try {
      const answer = await this.#model.call((model) => {
        const voice = asksAudio ? { voice: this.#options.voice } : {};
        const request = { model, messages: this.#messages, ...voice };
        return streamAnswer(api, request, outlets, signal);
      }, signal);
      if (asksAudio && answer.soundBytes === 0 && answer.text !== '' && !signal.aborted) {
        this.#giveUpAudio('the server sent no sound with its answer');
      }
      return answer;
    } finally {
      if (last !== '\n') terminal.print('\n');
    }
  }

  #asksAudio(): boolean {
    const { save, speak } = this.#options;
    return (
      !this.#textOnly && (save !== undefined || (speak !== false && this.#player !== undefined))
    );
  }

  /** Throws where sound was asked for by name; else says it once, and goes on with text. */
  #giveUpAudio(what: string): void {
    if (this.#options.save !== undefined || this.#options.speak === true) {
      const advice = 'leave out --speak and --save, or have the text spoken by the command say';
      throw new CliError(what, advice);
    }
    this.#textOnly = true;
    this.#context.terminal.notice(`${what} — going on with text only`);
  }

  /** Throws where the sound was asked for by name; else says it once, and goes on without. */
  #withoutSound(thrown: unknown): void {
    const failure = playerFailure(thrown);
    if (this.#options.speak === true) throw failure;
    this.#player = undefined;
    this.#context.terminal.notice(`${failure.message} — going on without sound`);
  }

  async #openQueue(): Promise<SoundQueue | undefined> {
    if (!this.#player || !this.#asksAudio()) return undefined;
    const giveUp = (thrown: unknown): void => {
      // In the middle of an answer its text is worth more than an error.
      this.#player = undefined;
      this.#context.terminal.notice(`${playerFailure(thrown).message} — going on without sound`);
    };
    try {
      const streamId = `chat-${process.pid}-${Date.now()}`;
      const playback = await this.#player.play({ streamId, sampleRateHz: SAMPLE_RATE_HZ });
      return new SoundQueue(playback, { sampleRateHz: SAMPLE_RATE_HZ, onFailure: giveUp });
    } catch (thrown) {
      this.#withoutSound(thrown);
      return undefined;
    }
  }

  /** The first answer goes to the name that was given, the second to `name-2.wav` … */
  async #openFile(): Promise<WavFile | undefined> {
    const { save } = this.#options;
    if (save === undefined) return undefined;
    const number = this.#saved + 1;
    const extension = extname(save);
    const path =
      number === 1
        ? save
        : join(dirname(save), `${basename(save, extension)}-${number}${extension}`);
    return createWavFile(path, SAMPLE_RATE_HZ);
  }

  async #finishFile(file: WavFile | undefined): Promise<void> {
    if (file && (await file.finish()) > 0) this.#saved += 1;
  }
}
