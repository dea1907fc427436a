import { basename } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { BYTES_PER_SAMPLE } from '../audio/audio-format.ts';
import { VoiceError } from '../errors/voice-error.ts';
import type { Playback } from '../services/audio-player.ts';
import {
  type PlayerChild,
  type PlayerChildOptions,
  type PlayerExit,
  startPlayer,
} from './player-child.ts';

/** What may lie between us and the loudspeaker. */
const MOST_AHEAD_MS = 1000;
/** A program that is so much behind the clock plays no more: a sound server hangs. */
const STALL_MS = 5000;

/**
 * One program that plays one stream. Mixing is the sound server's work. The pace is kept by the
 * clock: Node's pipe to a child alone takes 2.5 s of sound, and ffplay empties it at once.
 */
export class SpeakerPlayback implements Playback {
  readonly #options: PlayerChildOptions;
  readonly #child: PlayerChild;
  readonly #name: string;
  /** Aborted with the reason when nothing more will be heard. */
  readonly #over = new AbortController();
  /** When all that was written will have been heard, on `performance.now()`. */
  #heardAtMs = 0;
  #ending: Promise<void> | undefined;

  constructor(options: PlayerChildOptions) {
    this.#options = options;
    this.#name = basename(options.program.path);
    this.#child = startPlayer(options);
    void this.#watch();
    this.#child.stdin.write(this.#silence(options.program.paddingMs?.before ?? 0));
  }

  /** How the program ended; never rejects. */
  get exit(): Promise<PlayerExit> {
    return this.#child.exit;
  }

  async write(pcm: Uint8Array): Promise<void> {
    this.#over.signal.throwIfAborted();
    if (this.#ending) throw failed('The playback has ended.');
    const nowMs = performance.now();
    const { sampleRateHz } = this.#options;
    const soundMs = (pcm.byteLength / BYTES_PER_SAMPLE / sampleRateHz) * 1000;
    this.#heardAtMs = Math.max(this.#heardAtMs, nowMs) + soundMs;
    await this.#unlessStalled(this.#accepted(pcm));
    await this.#pause(this.#heardAtMs - performance.now() - MOST_AHEAD_MS);
  }

  end(): Promise<void> {
    this.#ending ??= this.#playToTheEnd();
    return this.#ending;
  }

  async stop(): Promise<void> {
    this.#over.abort(failed('The playback was stopped.'));
    this.#child.kill();
    await this.#child.exit;
  }

  async #playToTheEnd(): Promise<void> {
    this.#over.signal.throwIfAborted();
    this.#child.stdin.end(this.#silence(this.#options.program.paddingMs?.after ?? 0));
    await this.#unlessStalled(this.#child.exit);
    this.#over.signal.throwIfAborted();
  }

  /** A program ends well only after its input did. */
  async #watch(): Promise<void> {
    const { ok, words } = await this.#child.exit;
    if (!ok || !this.#ending) this.#fail(words);
  }

  async #accepted(pcm: Uint8Array): Promise<void> {
    const error = await new Promise<unknown>((resolve) => {
      this.#child.stdin.write(pcm, resolve);
    });
    if (!error) return;
    this.#child.kill(); // one that only closed its input would be waited for
    await this.#child.exit;
    this.#over.signal.throwIfAborted();
    throw failed(`${this.#name} takes no sound.`, error);
  }

  async #unlessStalled(done: Promise<unknown>): Promise<void> {
    const limitMs = Math.max(0, this.#heardAtMs - performance.now()) + STALL_MS;
    const timer = setTimeout(() => {
      this.#fail(`took no more sound for ${STALL_MS / 1000} s and was ended`);
      this.#child.kill();
    }, limitMs);
    try {
      await done;
    } finally {
      clearTimeout(timer);
    }
  }

  async #pause(forMs: number): Promise<void> {
    if (forMs <= 0) return;
    const { signal } = this.#over;
    await delay(forMs, undefined, { signal }).catch(() => undefined);
    signal.throwIfAborted();
  }

  #fail(words: string): void {
    const message =
      `${this.#name} ${words}. ` +
      "Check the server's sound device, or set AUDIO_PLAYER_PROGRAM or AUDIO_PLAYER=none.";
    this.#over.abort(failed(message));
  }

  #silence(ms: number): Uint8Array {
    return new Uint8Array(Math.round((this.#options.sampleRateHz * ms) / 1000) * BYTES_PER_SAMPLE);
  }
}

function failed(message: string, cause?: unknown): VoiceError {
  return new VoiceError('player_failed', { message, cause });
}
