import { BYTES_PER_SAMPLE } from '@antiphon/shared/audio/audio-format';
import { VoiceError } from '@antiphon/shared/errors/voice-error';
import type { RecordedAudio } from '@antiphon/shared/services/stt-service';

const LEAST_MS = 120_000;
const PER_AUDIO = 3;
/** Speech is hardly ever encoded below 16 kbit/s: the most audio a file of unknown content may hold. */
const LEAST_BYTES_PER_SECOND = 2000;

/**
 * A transcription may take max(120 s, 3 x its audio), and only whoever decodes knows how long that
 * is: the deadline moves as audio is decoded. For an engine that is sent the file itself, its size tells.
 */
export class TranscriptionDeadline {
  readonly signal: AbortSignal;
  readonly #controller = new AbortController();
  readonly #leastMs: number;
  readonly #startedMs = performance.now();
  #timer: NodeJS.Timeout | undefined;
  #dueMs = 0;

  constructor(leastMs: number = LEAST_MS) {
    this.#leastMs = leastMs;
    this.signal = this.#controller.signal;
    this.#extend(0);
  }

  /** The same audio, its decoded seconds counted. */
  watch(audio: RecordedAudio): RecordedAudio {
    const extend = (seconds: number) => this.#extend(seconds);
    return {
      format: audio.format,
      sizeBytes: audio.sizeBytes,
      bytes() {
        extend(audio.sizeBytes / LEAST_BYTES_PER_SECOND);
        return audio.bytes();
      },
      async *pcm(sampleRateHz, signal) {
        let seconds = 0;
        for await (const chunk of audio.pcm(sampleRateHz, signal)) {
          seconds += chunk.byteLength / BYTES_PER_SAMPLE / sampleRateHz;
          extend(seconds);
          yield chunk;
        }
      },
    };
  }

  clear(): void {
    clearTimeout(this.#timer);
  }

  #extend(audioSeconds: number): void {
    const dueMs = Math.max(this.#leastMs, audioSeconds * PER_AUDIO * 1000);
    if (dueMs <= this.#dueMs) return;
    this.#dueMs = dueMs;
    clearTimeout(this.#timer);
    const leftMs = this.#startedMs + dueMs - performance.now();
    this.#timer = setTimeout(() => {
      this.#controller.abort(new VoiceError('stream_timeout'));
    }, leftMs);
  }
}
