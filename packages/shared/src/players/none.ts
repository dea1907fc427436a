import { z } from 'zod';
import { VoiceError } from '../errors/voice-error.ts';
import type { AudioPlayer, Playback } from '../services/audio-player.ts';
import { defineEngine } from '../services/define-engine.ts';

class UnheardPlayback implements Playback {
  readonly #closing: AbortSignal;
  #ended = false;
  #stopped = false;

  constructor(closing: AbortSignal) {
    this.#closing = closing;
  }

  async write(): Promise<void> {
    if (this.#ended) throw failed('The playback has ended.');
    this.#throwIfStopped();
  }

  async end(): Promise<void> {
    if (!this.#ended) this.#throwIfStopped();
    this.#ended = true;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
  }

  #throwIfStopped(): void {
    if (this.#stopped || this.#closing.aborted) throw failed('The playback was stopped.');
  }
}

function failed(message: string): VoiceError {
  return new VoiceError('player_failed', { message });
}

/** Takes sound at once, not at the pace of a loudspeaker: nobody listens. */
class NoPlayer implements AudioPlayer {
  readonly audible = false;
  readonly #closing = new AbortController();

  async play(): Promise<Playback> {
    if (this.#closing.signal.aborted) throw new VoiceError('server_shutting_down');
    return new UnheardPlayback(this.#closing.signal);
  }

  async close(): Promise<void> {
    this.#closing.abort();
  }
}

export const none = defineEngine({
  description: 'Nothing is played: the text is streamed and no speech is made',
  defaultConcurrency: 1,
  config: z.object({}),
  create: async (): Promise<AudioPlayer> => new NoPlayer(),
});
