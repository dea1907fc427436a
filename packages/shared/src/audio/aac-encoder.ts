import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { VoiceError } from '../errors/voice-error.ts';
import type { AudioEncoder } from './audio-encoder.ts';
import { CONTENT_TYPES, SAMPLE_RATE_HZ } from './audio-format.ts';
import { type FfmpegProcess, startFfmpeg } from './ffmpeg.ts';
import { concatenate } from './pcm.ts';

/** Raw PCM needs no probing: without these, ffmpeg waits for 5 s of audio or 5 MB of it. */
const INPUT = [
  '-probesize',
  '32',
  '-analyzeduration',
  '0',
  '-f',
  's16le',
  '-ar',
  String(SAMPLE_RATE_HZ),
  '-ac',
  '1',
  '-i',
  'pipe:0',
];
const OUTPUT = [
  '-c:a',
  'aac',
  '-b:a',
  '64k',
  '-threads',
  '1',
  '-f',
  'adts',
  '-flush_packets',
  '1',
  'pipe:1',
];

/**
 * AAC in ADTS frames, by an ffmpeg that starts here, so that its 50 ms pass while the first
 * phrase is spoken. Throws `engine_failed` when there is no ffmpeg.
 */
export async function createAacEncoder(ffmpegPath = 'ffmpeg'): Promise<AudioEncoder> {
  const ffmpeg = await startFfmpeg({
    ffmpegPath,
    args: ['-loglevel', 'error', '-protocol_whitelist', 'pipe', ...INPUT, ...OUTPUT],
    cwd: tmpdir(),
    priority: 'normal',
  });
  return new AacEncoder(ffmpeg);
}

class AacEncoder implements AudioEncoder {
  readonly contentType = CONTENT_TYPES.aac;
  readonly #ffmpeg: FfmpegProcess;
  #encoded: Uint8Array[] = [];
  #closed = false;
  #exited = false;

  constructor(ffmpeg: FfmpegProcess) {
    this.#ffmpeg = ffmpeg;
    ffmpeg.stdout.on('data', (bytes: Uint8Array) => {
      this.#encoded.push(bytes);
    });
    void this.#noteExit();
  }

  async encode(pcm: Uint8Array): Promise<Uint8Array> {
    if (this.#closed) return new Uint8Array(0);
    if (this.#exited) throw this.#failure();
    // A copy: the pipe may hold it longer than the caller does.
    if (pcm.length > 0 && !this.#ffmpeg.stdin.write(pcm.slice())) {
      const waiting = new AbortController();
      const { signal } = waiting;
      await Promise.race([
        once(this.#ffmpeg.stdin, 'drain', { signal }).catch(() => {}),
        this.#ffmpeg.exit,
      ]);
      waiting.abort();
    }
    return this.#take();
  }

  async end(): Promise<Uint8Array> {
    if (this.#closed) return new Uint8Array(0);
    this.#ffmpeg.stdin.end();
    const { code } = await this.#ffmpeg.exit;
    if (code !== 0 && !this.#closed) throw this.#failure();
    return this.#take();
  }

  close(): void {
    this.#closed = true;
    if (!this.#exited) this.#ffmpeg.kill();
    this.#ffmpeg.stdin.destroy();
    this.#encoded = [];
  }

  async #noteExit(): Promise<void> {
    await this.#ffmpeg.exit;
    this.#exited = true;
  }

  #take(): Uint8Array {
    const encoded = concatenate(this.#encoded);
    this.#encoded = [];
    return encoded;
  }

  #failure(): VoiceError {
    return new VoiceError('engine_failed', {
      message: 'The AAC encoder failed. Another response_format may work.',
      cause: this.#ffmpeg.complaints(),
    });
  }
}
