import { SampleAligner, samplesToBytes } from '@antiphon/shared/audio/pcm';
import type { Playback } from '@antiphon/shared/services/audio-player';

/** Sound that arrived and waits for the loudspeaker; whoever brings more waits at this much. */
const MOST_WAITING_SECONDS = 300;
/** Pieces for the player: small, so that a stop does not wait for a write. */
const PIECE_SECONDS = 0.25;

export interface SoundQueueOptions {
  sampleRateHz: number;
  /** Hears once that the player gave up; from then on the sound is dropped. */
  onFailure: (thrown: unknown) => void;
}

/** Plays what is pushed, in order, while its caller goes on reading. */
export class SoundQueue {
  readonly #playback: Playback;
  readonly #aligner = new SampleAligner();
  readonly #mostBytes: number;
  readonly #pieceBytes: number;
  readonly #waiting: Uint8Array[] = [];
  readonly #played: Promise<void>;
  #waitingBytes = 0;
  #ended = false;
  #over = false;
  #changed = Promise.withResolvers<void>();

  constructor(playback: Playback, { sampleRateHz, onFailure }: SoundQueueOptions) {
    this.#playback = playback;
    this.#mostBytes = MOST_WAITING_SECONDS * sampleRateHz * 2;
    this.#pieceBytes = Math.round(PIECE_SECONDS * sampleRateHz) * 2;
    this.#played = this.#play().catch((thrown: unknown) => {
      if (!this.#over) onFailure(thrown);
      this.#drop();
    });
  }

  /** s16le mono, any number of bytes. Resolves at once unless minutes of sound are waiting. */
  async push(pcm: Uint8Array): Promise<void> {
    const whole = samplesToBytes(this.#aligner.align(pcm));
    if (this.#over || whole.byteLength === 0) return;
    this.#waiting.push(whole);
    this.#waitingBytes += whole.byteLength;
    this.#announce();
    while (this.#waitingBytes > this.#mostBytes) await this.#changed.promise;
  }

  /** Resolves when all was heard, or the player failed, or `stop` was called. */
  async end(): Promise<void> {
    this.#ended = true;
    this.#announce();
    await this.#played;
  }

  /** Silent at once; what waits is dropped. Harmless after `end`, and twice. */
  async stop(): Promise<void> {
    this.#drop();
    await this.#playback.stop();
    await this.#played;
  }

  async #play(): Promise<void> {
    while (!this.#over) {
      const pcm = this.#waiting.shift();
      if (pcm) {
        await this.#playWhole(pcm);
      } else if (this.#ended) {
        await this.#playback.end();
        return;
      } else {
        await this.#changed.promise;
      }
    }
  }

  async #playWhole(pcm: Uint8Array): Promise<void> {
    for (let at = 0; at < pcm.byteLength && !this.#over; at += this.#pieceBytes) {
      await this.#playback.write(pcm.subarray(at, at + this.#pieceBytes));
    }
    this.#waitingBytes = Math.max(0, this.#waitingBytes - pcm.byteLength);
    this.#announce();
  }

  #drop(): void {
    this.#over = true;
    this.#waiting.length = 0;
    this.#waitingBytes = 0;
    this.#announce();
  }

  #announce(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers<void>();
  }
}
